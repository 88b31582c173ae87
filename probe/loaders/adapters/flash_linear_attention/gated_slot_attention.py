"""Gated slot attention of flash-linear-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....mixers.gated_slot_attention import GATED_SLOT_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


def _slots(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    **_: Any,
) -> Read:
    """s [B, T, H, M] is what a token writes into each slot, g the slots' log-decay."""
    both = None if initial_state is None else torch.cat([x.flatten() for x in initial_state])
    tokens = dict(zip(("q", "k", "v", "log_decay"), working(q, k, v, g), strict=True))
    write = working(s)[0]
    return run(mixer, tokens, v, scale, both, unhooked={"write": write}, slot=s.shape[-1])


class GatedSlotAttentionAdapter(FlashLinearAttention, kind="fla_gated_slot_attention"):
    """Two gated passes, over keys and over values, through slots."""

    title = "gated slot attention"
    checkpoints = ("GSA",)
    mixer = "gated_slot_attention"
    modules = ("GatedSlotAttention",)
    recurrence = GATED_SLOT_ATTENTION
    spectrum = DECAYS
    functions = ways("gsa", _slots, "chunk", "fused_recurrent")
