"""HGRN2 of flash-linear-attention."""

from __future__ import annotations

from ....mixers.recurrences import GATED_LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from .gated_linear_attention import gated
from .layers import FlashLinearAttention, ways


class HGRN2Adapter(FlashLinearAttention, kind="fla_hgrn2"):
    """S_t = Diag(f_t) S_{t-1} + (1 - f_t) v_t^T."""

    title = "HGRN2"
    checkpoints = ("HGRN2",)
    mixer = "hgrn2"
    modules = ("HGRN2Attention",)
    recurrence = GATED_LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("gla", gated, "chunk", "fused_chunk", "fused_recurrent")
    value_first = True
