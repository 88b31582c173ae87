"""Simple GLA of flash-linear-attention: gated linear attention with one decay a head."""

from __future__ import annotations

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from .gated_linear_attention import gated
from .layers import FlashLinearAttention, ways


class SimpleGatedLinearAttentionAdapter(FlashLinearAttention, kind="fla_simple_gated_linear_attention"):
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T, with one decay a head."""

    title = "simple gated linear attention"
    checkpoints = ("simple GLA",)
    mixer = "ret_net"
    modules = ("SimpleGatedLinearAttention",)
    recurrence = LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("simple_gla", gated, "chunk", "fused_recurrent")
    value_first = True
