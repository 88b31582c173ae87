"""Simple GLA of flash-linear-attention: gated linear attention with one decay a head."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


def _simple(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """g: log-decay [B, T, H]."""
    tokens = dict(zip(("q", "k", "v", "log_decay"), working(q, k, v, g), strict=True))
    return run(mixer, tokens, v, scale, initial_state)


class SimpleGatedLinearAttentionAdapter(FlashLinearAttention, kind="fla_simple_gated_linear_attention"):
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T, with one decay a head."""

    title = "simple gated linear attention"
    checkpoints = ("simple GLA",)
    mixer = "ret_net"
    modules = ("SimpleGatedLinearAttention",)
    recurrence = LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("simple_gla", _simple, "chunk", "fused_recurrent")
    value_first = True
