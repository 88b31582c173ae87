"""HGRN2: S_t = Diag(f_t) S_{t-1} + (1 - f_t) v_t^T, o_t = S_t^T q_t, f_t = gamma + (1 - gamma) sigmoid(W x_t).

Qin et al. 2024 (arXiv:2404.07904). The lower bound gamma rises with depth from 0. In the paper it is the cumulative softmax over
layers of learned logits; here it stays where equal logits put it, gamma = layer / layers, so that a layer stands by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn import functional

from ...kernels.precision import widened
from .base import Memory, Mixer
from .heads import HeadMixer, HeadsConfig
from .points import LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV, Z
from .recurrences import GATED_LINEAR_ATTENTION, Tokens
from .spectrum import DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class HGRN2(HeadsConfig, kind="hgrn2"):
    """HGRN2 runs gated linear attention whose keys are 1 - f, f the forget gate; the key size is the expansion of the state."""

    points = (*QKV, LOG_DECAY_BY_CHANNEL, *MATRIX_STATE, Z)

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return HGRN2Mixer(self, width, generator, layer / layers)


class HGRN2Mixer(HeadMixer):
    """The module of HGRN2. The projection `k` makes the forget gate: keys are 1 - f."""

    recurrence = GATED_LINEAR_ATTENTION

    def __init__(self, config: HGRN2, width: int, generator: Generator, lower_bound: float) -> None:
        super().__init__(config, width, generator)
        self.lower_bound = lower_bound

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, gate, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        forget = self.lower_bound + (1 - self.lower_bound) * widened(gate).sigmoid()
        return self.fire(q=functional.silu(q), k=1 - forget, v=v, log_decay=forget.log())
