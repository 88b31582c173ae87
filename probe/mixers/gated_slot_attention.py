"""Gated slot attention: K_t = Diag(a_t) K_{t-1} + (1 - a_t) k_t^T, V_t alike, o_t = V_t^T softmax(K_t q_t).

Zhang et al. 2024 (arXiv:2409.07146), with a_t = sigmoid(W x)^(1/8) for each of M slots, SiLU on q, k and v, and norm(SiLU(o)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ...kernels.gated_slot_attention import gated_slot_attention
from ...kernels.operators.transition import Transition
from ...kernels.recurrence import Edit, RecurrenceOutput
from ..hooks.names import MIXING_PLACE
from ..hooks.points import Point
from .base import Memory, Mixer, StateRequest, linear
from .heads import HeadMixer, HeadsConfig
from .points import QKV, TRANSITION, Z
from .recurrences import Recurrence, Tokens, outer
from .spectrum import DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class GatedSlotAttention(HeadsConfig, kind="gated_slot_attention"):
    """Attention over a fixed number of slots, each of which decays by a gate that the token chooses."""

    points = (
        *QKV,
        Point("attn.hook_log_decay", "batch position head slot", "natural log of the decay of each slot, <= 0"),
        Point("attn.hook_slots", "batch position head slot", "softmax over slots", "read"),
        Point("attn.hook_recurrence_out", "batch position head value", "what the slots give, before SiLU and norm"),
        Point("attn.hook_state", "batch tap head slot value", "values in the slots after the tapped tokens", "edit", "taps"),
        Point("attn.hook_key_state", "batch tap head slot key", "keys in the slots after the tapped tokens", "read", "taps"),
        Point("attn.hook_write", "batch tap head slot value", "what the tapped tokens write into the slots", "read", "taps"),
        TRANSITION,
        Z,
    )
    absences: ClassVar[Mapping[str, str]] = {
        MIXING_PLACE: "its second pass reads by the softmax of its first, and no matrix of the tokens alone mixes them"
    }

    slots: int = 16
    """Each head has M slots."""
    temperature: float = 8.0
    """Gates are taken to this root, which keeps them near 1."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return GatedSlotAttentionMixer(self, width, generator)


def _call(*, edits: Sequence[Edit] = (), **how: Any) -> RecurrenceOutput:
    return gated_slot_attention(**how, value_edits=edits)  # type: ignore[return-value]


GATED_SLOT_ATTENTION = Recurrence(
    _call,
    lambda tokens: Transition.diagonal_only(tokens["log_decay"], tokens["log_decay"].shape[-1]),
    lambda tokens: outer(tokens["write"], tokens["v"]),
    state="initial_values",
    shows={"hook_slots": "slots", "hook_key_state": "key_states"},
)


class GatedSlotAttentionMixer(HeadMixer):
    """The module of GatedSlotAttention. Its state is the memory of values; edits change that."""

    recurrence = GATED_SLOT_ATTENTION
    config: GatedSlotAttention

    def __init__(self, config: GatedSlotAttention, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator)
        self.axis_sizes |= {"slot": config.slots}
        self.project_decay = linear(width, config.heads * config.slots, generator)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (functional.silu(self.projected(x, name, memory)) for name in ("q", "k", "v"))
        log_decay = functional.logsigmoid(self.by_head(self.project_decay(x))) / self.config.temperature
        tokens = self.fire(q=q * q.shape[-1] ** -0.5, k=k, v=v, log_decay=log_decay)
        return tokens | {"write": -torch.expm1(tokens["log_decay"])}

    def recur(self, tokens: Tokens, request: StateRequest, **fixed: object) -> Tensor:
        return functional.silu(super().recur(tokens, request, **fixed))
