"""Gated linear attention: S_t = Diag(a_t) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t, a_t = sigmoid(W_2 W_1 x_t + b)^(1/16).

Yang et al. 2024 (arXiv:2312.06635), with a norm of each head and a SiLU gate.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn import functional

from .base import LowRankProjection, Memory, Mixer
from .heads import HeadMixer, HeadsConfig
from .points import GATE, LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV, Z
from .recurrences import GATED_LINEAR_ATTENTION, Tokens
from .spectrum import DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class GatedLinearAttention(HeadsConfig, kind="gated_linear_attention"):
    """Linear attention whose memory decays by a gate for each key channel, which the token chooses."""

    points = (*QKV, LOG_DECAY_BY_CHANNEL, *MATRIX_STATE, GATE, Z)

    gate_rank: int = 16
    """The decay's projection has so many hidden units."""
    temperature: float = 16.0
    """Gates are taken to this root, which keeps them near 1."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return GatedLinearAttentionMixer(self, width, generator)


class GatedLinearAttentionMixer(HeadMixer):
    """The module that runs gated linear attention."""

    recurrence = GATED_LINEAR_ATTENTION
    config: GatedLinearAttention

    def __init__(self, config: GatedLinearAttention, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=functional.silu)
        self.decay = LowRankProjection(width, config.gate_rank, config.heads * config.sizes(width)[0], generator)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        log_decay = functional.logsigmoid(self.by_head(self.decay(x))) / self.config.temperature
        return self.fire(q=q * q.shape[-1] ** -0.5, k=k, v=v, log_decay=log_decay)
