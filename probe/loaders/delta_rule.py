"""The gated delta rule as transformers and flash-linear-attention call it, on our kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..mixers.recurrences import Tokens
from ..mixers.spectrum import AllowedSpectrum, of_reflections
from .adapter import ForeignMixer


def spectrum_of_delta_rule(module: nn.Module, keys: int = 1) -> AllowedSpectrum | None:
    """Which eigenvalues a foreign module of the delta rule allows with this many keys a token: beta is a sigmoid, or twice one.

    None where its keys are divided by their sum, and so are no unit vectors.
    """
    if getattr(module, "qk_norm", "l2") != "l2":
        return None
    return of_reflections(-1.0 if getattr(module, "allow_neg_eigval", False) else 0.0, keys)


def transformers_delta_rule(
    mixer: ForeignMixer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    chunk_size: int = 64,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """query, key [B, T, G, K], value [B, T, H, V], g [B, T, H] or [B, T, H, K], beta [B, T, H]; g is a log-decay."""
    mixer.only_from_nothing(initial_state, "initial_state")
    read, state = run_delta_rule(mixer, query, key, value, beta, g, normalise=use_qk_l2norm_in_kernel)
    return read, state if output_final_state else None


def run_delta_rule(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    *,
    scale: float | None = None,
    normalise: bool,
) -> tuple[Tensor, Tensor]:
    """The read-out [B, T, H, V] in the dtype of q, and the final state. Arguments as in `delta_tokens`."""
    tokens = delta_tokens(q, k, v, beta, log_decay, scale=scale, normalise=normalise)
    keys = tokens["k"]
    several = keys.shape[3] if keys.ndim == 5 else 1
    mixer.note_sizes(head=v.shape[2], key=keys.shape[-1], value=v.shape[-1], householder=several)
    read, state = mixer.run(tokens, unit_keys=False)
    return read.to(q.dtype), state


def delta_tokens(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    *,
    scale: float | None = None,
    normalise: bool,
) -> Tokens:
    """What `delta_rule` takes of a layer's projections, in float32 at least.

    q [B, T, G, K]; k [B, T, G, K] and v [B, T, H, V], or with n keys a token [B, T, ., n, .]; heads of q and k are shared.
    scale: of queries, None for K^{-1/2}. normalise: divide q and k by their norms.
    """
    q, k, v, beta = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v, beta))
    if normalise:
        q, k = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    q, k = (x.repeat_interleave(v.shape[2] // x.shape[2], dim=2) for x in (q, k))
    tokens = {"q": q * (q.shape[-1] ** -0.5 if scale is None else scale), "k": k, "v": v, "beta": beta}
    return tokens if log_decay is None else tokens | {"log_decay": log_decay.to(q.dtype)}
