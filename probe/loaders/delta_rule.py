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
    working = torch.promote_types(query.dtype, torch.float32)
    q, k, v, beta, g = (x.to(working) for x in (query, key, value, beta, g))
    if use_qk_l2norm_in_kernel:
        q, k = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    heads = v.shape[2]
    q, k = (x.repeat_interleave(heads // x.shape[2], dim=2) for x in (q, k))
    mixer.note_sizes(head=heads, key=k.shape[-1], value=v.shape[-1], householder=1)
    tokens = {"q": q * q.shape[-1] ** -0.5, "k": k, "v": v, "beta": beta, "log_decay": g}
    read, state = mixer.run(tokens, unit_keys=False)
    return read.to(query.dtype), state if output_final_state else None


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
