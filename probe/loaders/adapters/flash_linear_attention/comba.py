"""Comba of flash-linear-attention: a delta rule that reads along another vector than it writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....hooks.points import Point
from ....mixers.points import LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV
from ....mixers.recurrences import DIAGONAL_PLUS_LOW_RANK
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working

POINTS = (
    *QKV,
    LOG_DECAY_BY_CHANNEL,
    Point("attn.hook_a", "batch position head key", "p, the unit vector along which the state is read before it is changed"),
    Point("attn.hook_b", "batch position head key", "-(beta * k), what is added where p reads"),
    *MATRIX_STATE,
)


def _comba(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    p: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    *,
    use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> Read:
    """q, k, p [B, T, G, K], shared by heads; g, the log-decay, and beta [B, T, H]. The value is beta v."""
    queries, keys, values, reads, log_decay, rate = working(q, k, v, p, g, beta)
    if use_qk_l2norm_in_kernel:
        queries, keys, reads = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (queries, keys, reads))
    groups = v.shape[2] // k.shape[2]
    queries, keys, reads = (x.repeat_interleave(groups, dim=2) for x in (queries, keys, reads))
    tokens = {
        "q": queries,
        "k": keys,
        "v": rate[..., None] * values,
        "a": reads,
        "b": -rate[..., None] * keys,
        "log_decay": log_decay[..., None].expand_as(keys),
    }
    return run(mixer, tokens, v, scale, initial_state)


class CombaAdapter(FlashLinearAttention, kind="fla_comba"):
    """S_t = (e^{g_t} - beta_t k_t p_t^T) S_{t-1} + beta_t k_t v_t^T."""

    title = "Comba"
    checkpoints = ("Comba",)
    mixer = "comba"
    own_points = POINTS
    modules = ("Comba",)
    recurrence = DIAGONAL_PLUS_LOW_RANK
    functions = ways("comba", _comba, "chunk", "fused_recurrent")
