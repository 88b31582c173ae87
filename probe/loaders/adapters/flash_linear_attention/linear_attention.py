"""Linear attention of flash-linear-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.recurrences import LINEAR_ATTENTION, NORMALISED_LINEAR_ATTENTION, Recurrence
from ....mixers.spectrum import NO_DECAY
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


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
    mixer.settings["normalise"] = normalize
    tokens = dict(zip("qkv", working(q, k, v), strict=True))
    return run(mixer, tokens, v, scale, initial_state, state_value=v.shape[-1] + normalize)


class LinearAttentionAdapter(FlashLinearAttention, kind="fla_linear_attention"):
    """S_t = S_{t-1} + phi(k_t) v_t^T."""

    title = "linear attention"
    checkpoints = ("linear attention",)
    mixer = "linear_attention"
    modules = ("LinearAttention",)
    recurrence = LINEAR_ATTENTION
    spectrum = NO_DECAY
    functions = ways("linear_attn", _linear, "chunk", "fused_chunk", "fused_recurrent")

    @classmethod
    def recurrence_of(cls, mixer: ForeignMixer) -> Recurrence:
        return NORMALISED_LINEAR_ATTENTION if mixer.settings.get("normalise") else LINEAR_ATTENTION

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        """None where it normalises: their cache has no normaliser."""
        return None if mixer.settings.get("normalise") else super().cached_state(mixer, out, layer)
