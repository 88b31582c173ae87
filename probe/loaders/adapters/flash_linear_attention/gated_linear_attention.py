"""Gated linear attention of flash-linear-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.recurrences import GATED_LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


def gated(
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
    """g (of the chunked kernels) or gk (of the recurrent one): log-decay [B, T, H, K], or [B, T, H] of one decay a head."""
    log_decay = gk if g is None else g
    assert log_decay is not None
    tokens = dict(zip(("q", "k", "v", "log_decay"), working(q, k, v, log_decay), strict=True))
    return run(mixer, tokens, v, scale, initial_state)


class GatedLinearAttentionAdapter(FlashLinearAttention, kind="fla_gated_linear_attention"):
    """S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T."""

    title = "gated linear attention"
    checkpoints = ("GLA",)
    mixer = "gated_linear_attention"
    modules = ("GatedLinearAttention",)
    recurrence = GATED_LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("gla", gated, "chunk", "fused_chunk", "fused_recurrent")
    value_first = True
