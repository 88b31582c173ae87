"""HGRN of flash-linear-attention: a gated linear recurrence by channel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.points import DIAGONAL_VECTOR_STATE
from ....mixers.recurrences import DIAGONAL_SCAN
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, ways, working


def _scan(mixer: ForeignMixer, x: Tensor, g: Tensor, initial_state: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
    """x, the gated input, and g, the log-decay, [B, T, D]."""
    mixer.only_from_nothing(initial_state, "initial_state")
    mixer.note_sizes(head=1, channel=x.shape[-1])
    inputs, log_decay = working(x, g)
    states = mixer.run({"x": inputs[:, :, None], "decay": log_decay.exp()[:, :, None]})[0]
    return states[:, :, 0].to(x.dtype), None


class HGRNAdapter(FlashLinearAttention, kind="fla_hgrn"):
    """h_t = f_t h_{t-1} + (1 - f_t) i_t, channel by channel."""

    title = "HGRN"
    checkpoints = ("HGRN",)
    mixer = "hgrn"
    own_points = DIAGONAL_VECTOR_STATE
    modules = ("HGRNAttention",)
    recurrence = DIAGONAL_SCAN
    spectrum = DECAYS
    functions = ways("hgrn", _scan, "chunk", "fused_recurrent")

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        state = super().cached_state(mixer, out, layer)
        return None if state is None else state.reshape(len(state), 1, -1)
