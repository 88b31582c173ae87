"""GateLoop: S_t = Diag(a_t) S_{t-1} + k_t v_t^T, o_t = Re(S_t^T q_t), a_t = sigmoid(W x) e^{i U x}.

Katsch 2023 (arXiv:2311.01927), with a norm of each head and a SiLU gate.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn import functional

from ..hooks.names import STATE_PLACE, TRANSITION_PLACE
from ..hooks.points import Point, complex_of
from .base import Memory, Mixer, linear
from .heads import HeadMixer, HeadsConfig
from .points import GATE, LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV, Z
from .recurrences import GATE_LOOP, Tokens
from .spectrum import AllowedSpectrum


@dataclass(frozen=True)
class GateLoop(HeadsConfig, kind="gate_loop"):
    """A complex gate for each key channel, chosen by the token."""

    points = (
        *QKV,
        LOG_DECAY_BY_CHANNEL,
        Point("attn.hook_phase", "batch position head key", "angle of the gate by key channel, radians"),
        *complex_of(MATRIX_STATE, STATE_PLACE, TRANSITION_PLACE),
        GATE,
        Z,
    )

    @property
    def allowed(self) -> AllowedSpectrum:
        return AllowedSpectrum(low=-1.0, turns=True)

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return GateLoopMixer(self, width, generator)


class GateLoopMixer(HeadMixer):
    """The module that runs GateLoop."""

    recurrence = GATE_LOOP

    def __init__(self, config: GateLoop, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=functional.silu)
        keys = config.heads * config.sizes(width)[0]
        self.project_modulus, self.project_phase = linear(width, keys, generator), linear(width, keys, generator)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        log_decay = functional.logsigmoid(self.by_head(self.project_modulus(x)))
        return self.fire(q=q * q.shape[-1] ** -0.5, k=k, v=v, log_decay=log_decay, phase=self.by_head(self.project_phase(x)))
