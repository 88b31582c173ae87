"""flash-linear-attention's fused modules and functions in plain torch, for machines without a GPU.

Their layers around the recurrence (norms, short convolutions, gates) are Triton kernels, which run on no CPU. Each is a few lines
of torch, which take their place while a hooked model on a CPU runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Residual = Tensor | tuple[Tensor, Tensor]


def _rms(x: Tensor, eps: float) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def _affine(module: Any, x: Tensor) -> Tensor:
    x = x if module.weight is None else x * module.weight
    return x if module.bias is None else x + module.bias


def _with_residual(normalise: Callable[[Tensor], Tensor], x: Tensor, residual: Tensor | None, prenorm: bool) -> Residual:
    """norm(x + residual), and with prenorm the sum too."""
    x = x if residual is None else x + residual
    normalised = normalise(x.float()).to(x.dtype)
    return (normalised, x) if prenorm else normalised


def _rms_norm(module: Any, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, *_: Any, **__: Any) -> Residual:
    return _with_residual(lambda total: _affine(module, _rms(total, module.eps)), x, residual, prenorm)


def _layer_norm(module: Any, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, *_: Any, **__: Any) -> Residual:
    def normalise(total: Tensor) -> Tensor:
        return _affine(module, functional.layer_norm(total, total.shape[-1:], eps=module.eps))

    return _with_residual(normalise, x, residual, prenorm)


def _group_norm(module: Any, x: Tensor, residual: Tensor | None = None, prenorm: bool = False, *_: Any, **__: Any) -> Residual:
    def normalise(total: Tensor) -> Tensor:
        groups = total.unflatten(-1, (module.num_groups, -1))
        centred = groups if module.is_rms_norm else groups - groups.mean(-1, keepdim=True)
        return _affine(module, _rms(centred, module.eps).flatten(-2))

    return _with_residual(normalise, x, residual, prenorm)


def _rms_norm_gated(module: Any, x: Tensor, g: Tensor, *_: Any, **__: Any) -> Tensor:
    gate = torch.sigmoid if module.activation == "sigmoid" else functional.silu
    return (_affine(module, _rms(x.float(), module.eps)) * gate(g.float())).to(x.dtype)


def _rms_norm_of_groups(module: Any, x: Tensor, z: Tensor | None = None) -> Tensor:
    """The norm of each group of channels, before or after the gate SiLU(z)."""
    gate = 1.0 if z is None else functional.silu(z.float())
    y = x.float() if module.norm_before_gate else x.float() * gate
    y = _affine(module, _rms(y.unflatten(-1, (-1, module.group_size or y.shape[-1])), module.eps).flatten(-2))
    return (y * gate if module.norm_before_gate else y).to(x.dtype)


def _short_convolution(module: Any, x: Tensor, *_: Any, cu_seqlens: Tensor | None = None, **__: Any) -> tuple[Tensor, None]:
    return _causal_convolution(x, module.weight[:, 0], module.bias, activation=module.activation, cu_seqlens=cu_seqlens)


def _causal_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """x [B, T, D], weight [D, W]."""
    if cu_seqlens is not None:
        raise ValueError("cu_seqlens is given; the hooked model takes a batch [B, T]")
    padded = functional.pad(x.mT, (weight.shape[1] - 1, 0))
    y = functional.conv1d(padded, weight[:, None], bias, groups=len(weight)).mT
    return functional.silu(y) if activation in ("silu", "swish") else y, None


def _rotary(module: Any, q: Tensor, k: Tensor, seqlen_offset: int = 0, *_: Any, max_seqlen: int | None = None, **__: Any) -> Any:
    """Their tables of cosines and sines [T, K / 2], the halves of a head turned together."""
    if module.interleaved or module.scale is not None:
        raise ValueError("interleaved or scaled rotary embeddings run on a GPU only")
    module._update_cos_sin_cache(max_seqlen or q.shape[1] + seqlen_offset, device=q.device, dtype=q.dtype)
    at = slice(seqlen_offset, seqlen_offset + q.shape[1])
    cosine, sine = (table[at, None] for table in (module._cos_cached, module._sin_cached))

    def rotate(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)

    return rotate(q), rotate(k)


def _swiglu_linear(_: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(functional.silu(x) * y, weight, bias)


def _rms_norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    eps: float = 1e-5,
    **_: Any,
) -> Tensor:
    y = _rms(x.float(), eps)
    y = y if norm_weight is None else y * norm_weight
    y = y if norm_bias is None else y + norm_bias
    return functional.linear(y.to(x.dtype), weight, bias)


def _rms_norm_gated_linear(
    x: Tensor,
    g: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    eps: float = 1e-6,
    **_: Any,
) -> Tensor:
    y = _rms(x.float(), eps)
    y = y if norm_weight is None else y * norm_weight
    y = y if norm_bias is None else y + norm_bias
    return functional.linear((y * functional.silu(g.float())).to(x.dtype), weight, bias)


def _token_shift(x: Tensor, *_: Any, output_cache: bool = False, **__: Any) -> Any:
    """x_{t-1} - x_t."""
    difference = functional.pad(x, (0, 0, 1, -1)) - x
    return (difference, None) if output_cache else difference


def _mixtures(x: Tensor, difference: Tensor, *shares: Tensor | None) -> tuple[Tensor | None, ...]:
    return tuple(None if share is None else torch.addcmul(x, difference, share) for share in shares)


def _corrected(o: Tensor, r: Tensor, k: Tensor, bonus: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """g (o + (r . bonus k) v)."""
    return (o + ((r * k * bonus).sum(-1, keepdim=True) * v).flatten(-2)) * g


MODULES: dict[str, Callable[..., Any]] = {
    "RMSNorm": _rms_norm,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
    "FusedRMSNormGated": _rms_norm_gated,
    "RMSNormGated": _rms_norm_of_groups,
    "ShortConvolution": _short_convolution,
    "RotaryEmbedding": _rotary,
    "SwiGLULinear": _swiglu_linear,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "rms_norm_linear": _rms_norm_linear,
    "rms_norm_swish_gate_linear": _rms_norm_gated_linear,
    "causal_conv1d": _causal_convolution,
    "token_shift": _token_shift,
    "fused_addcmul_rwkv7": _mixtures,
    "fused_k_rwkv7": lambda k, a, share, *_, **__: k.addcmul(k * (a - 1), share),
    "gate_output_correction": _corrected,
    "l2_norm": lambda x, eps=1e-6, **_: x * (x.square().sum(-1, keepdim=True) + eps).rsqrt(),
    "swish": functional.silu,
    "layer_norm": lambda x, weight, bias, eps=1e-5, **_: functional.layer_norm(x, x.shape[-1:], weight, bias, eps),
    "swiglu": lambda x, y: functional.silu(x) * y,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "SwishFunction": functional.silu,
    "SigmoidFunction": torch.sigmoid,
    "SquaredReLUFunction": lambda x: functional.relu(x).square(),
    "FastGeLUFunction": lambda x: functional.gelu(x, approximate="tanh"),
}


def fused_on_cpu(foreign: nn.Module) -> list[nn.Module]:
    """The modules of flash-linear-attention in a model on a CPU, where most of them do not run."""
    if next(foreign.parameters()).device.type != "cpu":
        return []
    return [module for module in foreign.modules() if type(module).__module__.startswith("fla.")]


@contextmanager
def in_torch(foreign: nn.Module) -> Iterator[None]:
    """Run their fused modules in torch, if the model is on a CPU."""
    theirs = fused_on_cpu(foreign)
    changed: list[tuple[Any, str, Any]] = []
    for namespace in {sys.modules[type(module).__module__] for module in theirs}:
        changed += [(namespace, name, getattr(namespace, name)) for name in FUNCTIONS if hasattr(namespace, name)]
    activations = [(module, name) for module in theirs for name in ("act", "act_fn", "gate_fn") if hasattr(module, name)]
    changed += [(module, name, getattr(module, name)) for module, name in activations]
    try:
        for owner, name, original in changed:
            setattr(owner, name, FUNCTIONS.get(name) or ACTIVATIONS.get(_function_class(original), original))
        for module in theirs:
            if type(module).__name__ in MODULES:
                object.__setattr__(module, "forward", MODULES[type(module).__name__].__get__(module))
        yield
    finally:
        for owner, name, original in changed:
            setattr(owner, name, original)
        for module in theirs:
            module.__dict__.pop("forward", None)


def _function_class(activation: Any) -> str:
    """The name of the autograd function whose `apply` this is."""
    return getattr(getattr(activation, "__self__", None), "__name__", "")
