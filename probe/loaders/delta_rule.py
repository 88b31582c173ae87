"""Checkpoints that run the gated delta rule: Qwen3-Next, Qwen3.5, OLMo-hybrid (a scalar decay), Kimi Linear (one by channel)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..mixers.recurrences import DELTA
from .adapter import Adapter, ForeignMixer, only_from_nothing


def _run(
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
    only_from_nothing(initial_state, "initial_state")
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
    """The read-out [B, T, H, V] in the dtype of q, and the final state.

    q [B, T, G, K]; k [B, T, G, K] and v [B, T, H, V], or with n keys a token [B, T, ., n, .]; heads of q and k are shared.
    normalise: divide q and k by their norms.
    """
    read_as = q.dtype
    q, k, v, beta = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v, beta))
    if normalise:
        q, k = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    heads = v.shape[2]
    q, k = (x.repeat_interleave(heads // x.shape[2], dim=2) for x in (q, k))
    mixer.note_sizes(head=heads, key=k.shape[-1], value=v.shape[-1], householder=1 if k.ndim == 4 else k.shape[3])
    tokens = {"q": q * (q.shape[-1] ** -0.5 if scale is None else scale), "k": k, "v": v, "beta": beta}
    if log_decay is not None:
        tokens["log_decay"] = log_decay.to(q.dtype)
    read, state = mixer.run(tokens, unit_keys=False)
    return read.to(read_as), state


GATED_DELTA_RULE = Adapter(
    "gated delta rule",
    "gated_delta_net",
    ("Qwen3NextGatedDeltaNet", "Qwen3_5GatedDeltaNet", "Qwen3_5MoeGatedDeltaNet", "OlmoHybridGatedDeltaNet"),
    DELTA,
    {"torch_chunk_gated_delta_rule": _run, "torch_recurrent_gated_delta_rule": _run},
)
KIMI_DELTA_ATTENTION = Adapter(
    "Kimi delta attention",
    "kimi_delta_attention",
    ("KimiLinearDeltaAttention",),
    DELTA,
    {"chunk_kimi_delta_attention": _run, "recurrent_kimi_delta_attention": _run},
)
