"""The RG-LRU of RecurrentGemma."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ....mixers.points import DIAGONAL_VECTOR_STATE
from ....mixers.recurrences import DIAGONAL_SCAN
from ....mixers.spectrum import DECAYS
from ...adapter import Adapter, ForeignMixer


def _rnn_scan(
    mixer: ForeignMixer, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Tensor | None, **_: Any
) -> tuple[Tensor, Tensor]:
    """hidden_states, recurrent_gate [B, T, W], reset [B, T, 1]."""
    kept = None if recurrent_states is None else recurrent_states * ~reset[:, 0]  # the module keeps that of its last run
    mixer.only_from_nothing(kept, "recurrent_states")
    mixer.note_sizes(head=1, channel=hidden_states.shape[-1])
    hidden_states = hidden_states if mixer.mask is None else hidden_states * mixer.mask[..., None]
    tokens = {"x": hidden_states.float()[:, :, None], "decay": (recurrent_gate * ~reset).float()[:, :, None]}
    states, final = mixer.run(tokens)
    return states[:, :, 0].to(hidden_states.dtype), final[:, 0].detach()  # which the layer keeps


class RGLRUAdapter(Adapter, kind="rg_lru"):
    """h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t x_t), channel by channel."""

    title = "RG-LRU"
    checkpoints = ("RecurrentGemma",)
    mixer = "rg_lru"
    own_points = DIAGONAL_VECTOR_STATE
    modules = ("RecurrentGemmaRglru",)
    recurrence = DIAGONAL_SCAN
    spectrum = DECAYS
    methods: ClassVar = {"_rnn_scan": _rnn_scan}
    masked = ("temporal_block.linear_x",)
    adds = "temporal_block"
    resets = True
    zero_start = True

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        return mixer.module.recurrent_states[:, None]
