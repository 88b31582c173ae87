"""RWKV-6 and RWKV-7: token shift, low-rank gates, and a decay for each key channel.

RWKV-6 (Peng et al. 2024, arXiv:2404.05892): S_t = Diag(w_t) S_{t-1} + k_t v_t^T, o_t = (S_{t-1} + Diag(u) k_t v_t^T)^T r_t, with
w_t = exp(-exp(.)) and each projection reading its own mixture of x_t and x_{t-1}.
RWKV-7 (Peng et al. 2025, arXiv:2503.14456): S_t = (Diag(w_t) - (a_t kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T, o_t = S_t^T r_t,
with w_t = exp(-e^{-1/2} sigmoid(.)). Its mixing of values with the first layer's is left out: a layer here stands by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..hooks.points import Point
from .base import LowRankProjection, Memory, Mixer, StateRequest, recall
from .delta_net import unit
from .heads import HeadMixer, HeadsConfig
from .points import GATE, LOG_DECAY_BY_CHANNEL, MATRIX_STATE, QKV, Z
from .recurrences import DIAGONAL_PLUS_LOW_RANK, GATED_LINEAR_ATTENTION, Tokens
from .spectrum import DECAYS, AllowedSpectrum

LEAST_DECAY = math.exp(-math.exp(-0.5))  # of RWKV-7
RWKV7_SPECTRUM = AllowedSpectrum(low=LEAST_DECAY - 1, commutes=False)  # less a rank-one part of norm 1 at most


@dataclass(frozen=True)
class RWKV6(HeadsConfig, kind="rwkv6"):
    """RWKV-6 runs linear attention that decays by a gate for each key channel, which the token chooses."""

    points = (*QKV, LOG_DECAY_BY_CHANNEL, *MATRIX_STATE, GATE, Z)

    gate_rank: int = 16
    """The mixtures and the decay have so many hidden units."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return RWKV6Mixer(self, width, generator)


@dataclass(frozen=True)
class RWKV7(HeadsConfig, kind="rwkv7"):
    """RWKV-7 changes its memory by a diagonal plus a matrix of rank one, both of which the token chooses."""

    points = (
        *QKV,
        LOG_DECAY_BY_CHANNEL,
        Point("attn.hook_a", "batch position head key", "kappa, the unit vector that is read and erased"),
        Point("attn.hook_b", "batch position head key", "-(rate * kappa), what is added where kappa reads"),
        *MATRIX_STATE,
        GATE,
        Z,
    )

    gate_rank: int = 16
    """The decay, the rate and the gate have so many hidden units."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return RWKV7_SPECTRUM

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return RWKV7Mixer(self, width, generator)


class Shift(nn.Module):
    """x_t + (x_{t-1} - x_t) mu for each of several readers; x_{-1} = 0."""

    def __init__(self, width: int, readers: tuple[str, ...]) -> None:
        super().__init__()
        self.share = nn.ParameterDict({name: nn.Parameter(torch.linspace(0, 1, width)) for name in readers})

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, dict[str, Tensor]]:
        """x_{t-1} - x_t, and the mixture of each reader."""
        difference = recall(memory, "shift", x, 1)[:, :-1] - x
        return difference, {name: x + difference * share for name, share in self.share.items()}


class RWKV6Mixer(HeadMixer):
    """The module that runs RWKV-6."""

    recurrence = GATED_LINEAR_ATTENTION
    config: RWKV6

    def __init__(self, config: RWKV6, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=functional.silu)
        key_size, rank = config.sizes(width)[0], config.gate_rank
        self.shift = Shift(width, ("first", "q", "k", "v", "decay"))
        names = ("q", "k", "v", "decay")
        self.mixture = nn.ModuleDict({name: LowRankProjection(width, rank, width, generator, torch.tanh) for name in names})
        self.decay = LowRankProjection(width, rank, config.heads * key_size, generator, torch.tanh)
        self.decay.bias.data.copy_(torch.linspace(-6, -1, key_size).repeat(config.heads))
        self.bonus = nn.Parameter(torch.linspace(0, 1, key_size).repeat(config.heads, 1))

    def fixed(self) -> dict[str, Tensor]:
        return {"bonus": self.bonus}

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        difference, mixed = self.shift(x, memory)
        read = {name: mixed[name] + difference * mixture(mixed["first"]) for name, mixture in self.mixture.items()}
        q, k, v = (self.projected(read[name], name, memory) for name in ("q", "k", "v"))
        log_decay = -self.by_head(self.decay(read["decay"])).exp()
        return self.fire(q=q, k=k * k.shape[-1] ** -0.5, v=v, log_decay=log_decay)


class RWKV7Mixer(HeadMixer):
    """The module of RWKV7. hook_a is kappa, hook_b is -(rate * kappa)."""

    recurrence = DIAGONAL_PLUS_LOW_RANK
    config: RWKV7

    def __init__(self, config: RWKV7, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=nn.Identity())
        key_size, rank = config.sizes(width)[0], config.gate_rank
        self.shift = Shift(width, ("q", "k", "v", "decay", "rate"))
        self.decay = LowRankProjection(width, rank, config.heads * key_size, generator, torch.tanh)
        self.decay.bias.data.copy_(torch.linspace(-5, 1, key_size).repeat(config.heads))
        self.rate = LowRankProjection(width, rank, config.heads * key_size, generator)
        self.erased, self.kept = (nn.Parameter(torch.full((config.heads, key_size), value)) for value in (0.85, 1.0))
        self.bonus = nn.Parameter(0.1 * torch.randn(config.heads, key_size, generator=generator))
        self.project_gate = LowRankProjection(width, rank, config.heads * self.axis_sizes["value"], generator, torch.sigmoid)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        _, mixed = self.shift(x, memory)
        q, k, v = (self.projected(mixed[name], name, memory) for name in ("q", "k", "v"))
        log_decay = -math.exp(-0.5) * self.by_head(self.decay(mixed["decay"])).sigmoid()
        rate = self.by_head(self.rate(mixed["rate"])).sigmoid()
        kappa = unit(k * self.erased)
        k = k * (1 + (rate - 1) * self.kept)
        return self.fire(q=q, k=k, v=v, a=kappa, b=-rate * kappa, log_decay=log_decay)

    def recur(self, tokens: Tokens, request: StateRequest, **fixed: object) -> Tensor:
        """Run the recurrence, and add what each token reads of itself beside the state, (r_t . u k_t) v_t."""
        own = (tokens["q"] * tokens["k"] * self.bonus).sum(-1, keepdim=True) * tokens["v"]
        return super().recur(tokens, request) + own
