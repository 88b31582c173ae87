"""Checkpoints of flash-linear-attention: their layers hand q, k, v and gates to one kernel, and that kernel is ours here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..mixers.gated_slot_attention import SLOTS
from ..mixers.recurrences import DELTA, GATED, LINEAR, LOW_RANK, NORMALISED, Recurrence
from .adapter import Adapter, ForeignMixer, Runner, only_from_nothing
from .delta_rule import run_delta_rule

Read = tuple[Tensor, None]


def _working(*tensors: Tensor) -> list[Tensor]:
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def _run(
    mixer: ForeignMixer,
    tokens: dict[str, Tensor],
    like: Tensor,
    scale: float | None,
    initial_state: Tensor | None,
    *,
    unhooked: dict[str, Tensor] | None = None,
    **sizes: int,
) -> Read:
    """Queries scaled; sizes noted; read-outs in the dtype of the layer."""
    only_from_nothing(initial_state, "initial_state")
    q, k, v = (tokens[name] for name in ("q", "k", "v"))
    mixer.note_sizes(**({"head": v.shape[2], "key": k.shape[-1], "value": v.shape[-1], "state_value": v.shape[-1]} | sizes))
    queries = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    return mixer.run(tokens | {"q": queries}, unhooked=unhooked)[0].to(like.dtype), None


def _linear(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    normalize: bool = False,
    **_: Any,
) -> Read:
    mixer.recurrence = NORMALISED if normalize else LINEAR  # type: ignore[misc]
    tokens = dict(zip("qkv", _working(q, k, v), strict=True))
    return _run(mixer, tokens, v, scale, initial_state, state_value=v.shape[-1] + normalize)


def _retention(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """The decay of head h is 1 - 2^{-5 - h}. Rotary positions count from the first token that is no padding."""
    if mixer.mask is not None:
        padding = mixer.mask.int().argmax(1)
        q, k = (_turned_back(x, padding[:, None, None, None] * mixer.module.rotary.inv_freq) for x in (q, k))
    heads = torch.arange(v.shape[2], device=v.device, dtype=torch.float32)
    log_decay = torch.log1p(-torch.exp2(-5 - heads)).expand(v.shape[:3])
    tokens = dict(zip("qkv", _working(q, k, v), strict=True)) | {"log_decay": log_decay}
    return _run(mixer, tokens, v, scale, initial_state)


def _turned_back(x: Tensor, angle: Tensor) -> Tensor:
    """x [B, T, H, K] with the two halves of each head turned by -angle [B, 1, 1, K / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([first * cosine + second * sine, second * cosine - first * sine], dim=-1).to(x.dtype)


def _gated(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """g (of the chunked kernels) or gk (of the recurrent one): log-decay [B, T, H, K]."""
    log_decay = gk if g is None else g
    assert log_decay is not None
    tokens = dict(zip(("q", "k", "v", "log_decay"), _working(q, k, v, log_decay), strict=True))
    return _run(mixer, tokens, v, scale, initial_state)


def _slots(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    **_: Any,
) -> Read:
    """s [B, T, H, M] is what a token writes into each slot, g the slots' log-decay."""
    both = None if initial_state is None else torch.cat([x.flatten() for x in initial_state])
    tokens = dict(zip(("q", "k", "v", "log_decay"), _working(q, k, v, g), strict=True))
    write = _working(s)[0]
    return _run(mixer, tokens, v, scale, both, unhooked={"write": write}, slot=s.shape[-1])


def _delta(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,  # noqa: N803 (their name)
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    **_: Any,
) -> Read:
    """beta [B, T, H], or what a sigmoid makes it of; g a log-decay, or what -exp(A_log) softplus(g + dt_bias) makes it of."""
    only_from_nothing(initial_state, "initial_state")
    assert beta is not None
    if use_beta_sigmoid_in_kernel:
        beta = beta.float().sigmoid() * (2.0 if allow_neg_eigval else 1.0)
    if g is not None and use_gate_in_kernel:
        g = _log_decay(g.float(), A_log, dt_bias, lower_bound)
    return run_delta_rule(mixer, q, k, v, beta, g, scale=scale, normalise=use_qk_l2norm_in_kernel)[0], None


def _log_decay(g: Tensor, rate: Tensor | None, bias: Tensor | None, lower_bound: float | None) -> Tensor:
    """g [B, T, H] or [B, T, H, K]; rate [H], bias one for each entry of a token."""
    if bias is not None:
        g = g + bias.view(g.shape[2:])
    scale = g.new_ones(()) if rate is None else rate.float().exp().view(-1, *[1] * (g.ndim - 3))
    return -scale * functional.softplus(g) if lower_bound is None else lower_bound * (scale * g).sigmoid()


def _delta_product(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    num_householder: int | None = None,
    **_: Any,
) -> Read:
    """k, v, beta [B, T n, H, .], n keys a token. Without num_householder q and g are spread alike, and so is what is returned."""
    only_from_nothing(initial_state, "initial_state")
    n: int = mixer.module.num_householder
    spread = num_householder is None
    if spread:
        q, g = q[:, n - 1 :: n], None if g is None else g[:, ::n]
    k, v, beta = (x.unflatten(1, (-1, n)).movedim(2, 3) for x in (k, v, beta))
    g = torch.zeros_like(beta[..., 0]) if g is None else g
    read = run_delta_rule(mixer, q, k, v, beta, g, scale=scale, normalise=True)[0]
    if not spread:
        return read, None
    return functional.pad(read[:, :, None], (0, 0, 0, 0, n - 1, 0)).flatten(1, 2), None


def _rwkv7_step(mixer: ForeignMixer, r: Tensor, w: Tensor, k: Tensor, v: Tensor, kk: Tensor, a: Tensor, **how: Any) -> Read:
    return _rwkv7(mixer, r, w, k, v, -kk, kk * a, **how)


def _rwkv7(
    mixer: ForeignMixer,
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    scale: float | None = 1.0,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """The transition is Diag(e^w) + b a^T."""
    names = ("q", "log_decay", "k", "v", "a", "b")
    return _run(mixer, dict(zip(names, _working(r, w, k, v, -a, -b), strict=True)), v, scale, initial_state)


def _masked(
    mixer: ForeignMixer,
    hidden_states: Tensor,
    cu_seqlens: Tensor | None = None,
    attention_mask: Tensor | None = None,
    q_len: int | None = None,
) -> tuple[Tensor, None, None]:
    """In the place of their unpadding, which packs a batch: padding stays where it is and writes nothing."""
    if cu_seqlens is not None:
        raise ValueError("cu_seqlens is given; the hooked model takes a batch [B, T], padded where sequences differ in length")
    return hidden_states if mixer.mask is None else hidden_states * mixer.mask[..., None], None, None


def _unchanged(mixer: ForeignMixer, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


PADDING: dict[str, Runner] = {"unpad_hidden_states": _masked, "repad_hidden_states": _unchanged}


def _adapter(
    family: str, kind: str, module: str, recurrence: Recurrence, functions: dict[str, Runner], *, value_first: bool = False
) -> Adapter:
    return Adapter(family, kind, (module,), recurrence, functions | PADDING, value_first=value_first)


def _ways(name: str, runner: Runner, *ways: str) -> dict[str, Runner]:
    """The kernels of one recurrence: chunked, token by token, and so on."""
    return {f"{way}_{name}": runner for way in ways}


LINEAR_WAYS = _ways("linear_attn", _linear, "chunk", "fused_chunk", "fused_recurrent")
RETENTION_WAYS = _ways("retention", _retention, "chunk", "fused_chunk", "fused_recurrent", "parallel")
GATED_WAYS = _ways("gla", _gated, "chunk", "fused_chunk", "fused_recurrent")
SLOT_WAYS = _ways("gsa", _slots, "chunk", "fused_recurrent")
DELTA_WAYS = _ways("delta_rule", _delta, "chunk", "fused_recurrent")
GATED_DELTA_WAYS = _ways("gated_delta_rule", _delta, "chunk", "fused_recurrent")
PRODUCT_WAYS = _ways("gated_delta_product", _delta_product, "chunk") | _ways(
    "gated_delta_rule", _delta_product, "fused_recurrent"
)
KIMI_WAYS = _ways("kda", _delta, "chunk", "fused_recurrent")
RWKV7_WAYS = _ways("rwkv7", _rwkv7, "chunk") | _ways("rwkv7", _rwkv7_step, "fused_mul_recurrent")

ADAPTERS = (
    _adapter("linear attention", "linear_attention", "LinearAttention", LINEAR, LINEAR_WAYS),
    _adapter("retention", "ret_net", "MultiScaleRetention", LINEAR, RETENTION_WAYS),
    _adapter("gated linear attention", "gated_linear_attention", "GatedLinearAttention", GATED, GATED_WAYS, value_first=True),
    _adapter("HGRN2", "hgrn2", "HGRN2Attention", GATED, GATED_WAYS, value_first=True),
    _adapter("gated slot attention", "gated_slot_attention", "GatedSlotAttention", SLOTS, SLOT_WAYS),
    _adapter("delta rule", "delta_net", "DeltaNet", DELTA, DELTA_WAYS),
    _adapter("gated delta rule", "gated_delta_net", "GatedDeltaNet", DELTA, GATED_DELTA_WAYS, value_first=True),
    _adapter("gated delta product", "gated_delta_net", "GatedDeltaProduct", DELTA, PRODUCT_WAYS),
    _adapter("Kimi delta attention", "kimi_delta_attention", "KimiDeltaAttention", DELTA, KIMI_WAYS, value_first=True),
    _adapter("RWKV-7", "rwkv7", "RWKV7Attention", LOW_RANK, RWKV7_WAYS),
)
