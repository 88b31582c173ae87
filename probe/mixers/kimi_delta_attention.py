"""Kimi Delta Attention: S_t = (I - beta_t k_t k_t^T) Diag(a_t) S_{t-1} + beta_t k_t v_t^T, o_t = S_t^T q_t.

Kimi Team 2025 (arXiv:2510.26692): the gated delta rule with a decay for each key channel, log a_t = -A softplus(W_2 W_1 x + b),
and a norm of each head with a low-rank sigmoid gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ...kernels.precision import widened
from .base import LowRankProjection, Memory, Mixer, PerHead, linear, step_bias
from .delta_net import check_eigenvalue_range, unit
from .heads import HeadMixer, HeadsConfig
from .points import BETA, GATE, LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV, Z
from .recurrences import DELTA_RULE, Tokens
from .spectrum import AllowedSpectrum


@dataclass(frozen=True)
class KimiDeltaAttention(HeadsConfig, kind="kimi_delta_attention"):
    """The delta rule with a decay for each key channel, which the token chooses."""

    points = (*QKV, BETA, LOG_DECAY_BY_CHANNEL, *MATRIX_STATE, GATE, Z)

    short_convolution: int = 4
    eigenvalue_range: tuple[float, float] = (0.0, 1.0)
    """Eigenvalues of the transition along a key, before the decay, lie in it: (0, 1) or (-1, 1)."""
    gate_rank: int = 16
    """The projections of both gates have so many hidden units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eigenvalue_range(self.eigenvalue_range)

    @property
    def allowed(self) -> AllowedSpectrum:
        return AllowedSpectrum(low=self.eigenvalue_range[0], reflections=int(self.eigenvalue_range[0] < 0), commutes=False)

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return KimiDeltaAttentionMixer(self, width, generator)


class KimiDeltaAttentionMixer(HeadMixer):
    """The module that runs Kimi delta attention."""

    recurrence = DELTA_RULE
    config: KimiDeltaAttention

    def __init__(self, config: KimiDeltaAttention, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=torch.sigmoid)
        key_size, value_size = config.sizes(width)
        self.project_beta = linear(width, config.heads, generator)
        self.decay = LowRankProjection(width, config.gate_rank, config.heads * key_size, generator)
        self.decay.bias.data.copy_(step_bias(config.heads * key_size, generator))
        self.log_rate = PerHead(torch.empty(config.heads).uniform_(1, 16, generator=generator).log())
        self.project_gate = LowRankProjection(width, config.gate_rank, config.heads * value_size, generator)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        beta = widened(self.project_beta(x)).sigmoid() * (1 - self.config.eigenvalue_range[0])
        log_decay = -self.log_rate(len(x)).exp()[..., None] * functional.softplus(self.by_head(self.decay(x)))
        return self.fire(q=unit(q) * q.shape[-1] ** -0.5, k=unit(k), v=v, beta=beta, log_decay=log_decay)
