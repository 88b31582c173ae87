"""DeltaNet and its gated and several-key forms.

    S_t = e^{g_t} prod_{j=n..1} (I - beta_tj k_tj k_tj^T) S_{t-1} + writes,     o_t = S_t^T q_t

DeltaNet (Yang et al. 2024, arXiv:2406.06484) has no decay and one key a token; Gated DeltaNet (arXiv:2412.06464) adds the
decay g = -A softplus(W x + b) and an output gate; DeltaProduct (arXiv:2502.10297) takes n keys a token. Keys and queries
are unit vectors. beta = sigmoid(W x), doubled for the eigenvalue range [-1, 1] (Grazzi et al. 2025, arXiv:2411.12537).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...kernels.precision import widened
from ..hooks.points import Point
from .base import Memory, Mixer, PerHead, linear, step_bias, sum_of_squares
from .heads import HeadMixer, HeadsConfig
from .points import BETA, GATE, LOG_DECAY, MATRIX_STATE, QKV, Z
from .recurrences import DELTA_RULE, Tokens
from .spectrum import AllowedSpectrum, of_reflections


@dataclass(frozen=True)
class DeltaNet(HeadsConfig, kind="delta_net"):
    """The delta rule without decay."""

    points: ClassVar[tuple[Point, ...]] = (*QKV, BETA, *MATRIX_STATE, Z)

    short_convolution: int = 4
    householders: int = 1
    """Each token writes n keys."""
    eigenvalue_range: tuple[float, float] = (-1.0, 1.0)
    """Eigenvalues of the transition along a key lie in it: (0, 1) or (-1, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eigenvalue_range(self.eigenvalue_range)
        if self.householders < 1:
            raise ValueError(f"householders must be at least 1, got {self.householders}")

    @property
    def allowed(self) -> AllowedSpectrum:
        return of_reflections(self.eigenvalue_range[0], self.householders)

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return DeltaMixer(self, width, generator, gated=False)


@dataclass(frozen=True)
class GatedDeltaNet(DeltaNet, kind="gated_delta_net"):
    """The delta rule with a scalar decay for each head and an output gate."""

    points = (*QKV, BETA, LOG_DECAY, *MATRIX_STATE, GATE, Z)

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return DeltaMixer(self, width, generator, gated=True)


class DeltaMixer(HeadMixer):
    """The module of DeltaNet and GatedDeltaNet."""

    recurrence = DELTA_RULE
    config: DeltaNet

    def __init__(self, config: DeltaNet, width: int, generator: Generator, *, gated: bool) -> None:
        gate = functional.silu if gated else None
        super().__init__(config, width, generator, gate=gate, keys=config.householders)
        self.project_beta = linear(width, config.heads * config.householders, generator)
        self.decay = SoftplusDecay(width, config.heads, generator) if gated else None

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self._written(x, name, memory) for name in ("q", "k", "v"))
        beta = widened(self.by_head(self.project_beta(x))).sigmoid() * (1 - self.config.eigenvalue_range[0])
        tokens = {"q": unit(q) * q.shape[-1] ** -0.5, "k": unit(k), "v": v}
        tokens["beta"] = beta.squeeze(-1) if self.config.householders == 1 else beta
        return self.fire(**tokens, **({} if self.decay is None else {"log_decay": self.decay(x)}))

    def _written(self, x: Tensor, name: str, memory: Memory | None) -> Tensor:
        """Projected, SiLU'd, and split into the keys of a token where it has several."""
        y = self.projected(x, name, memory)
        y = y if self.config.short_convolution else functional.silu(y)
        return y if name == "q" or self.config.householders == 1 else y.unflatten(-1, (self.config.householders, -1))


class SoftplusDecay(nn.Module):
    """g = -A softplus(W x + b), a log-decay for each head; A in [1, 16], softplus(b) in [1e-3, 0.1] log-uniform at the start."""

    def __init__(self, width: int, heads: int, generator: Generator) -> None:
        super().__init__()
        self.project = nn.utils.skip_init(nn.Linear, width, heads)
        nn.init.normal_(self.project.weight, std=width**-0.5, generator=generator)
        self.project.bias.data.copy_(step_bias(heads, generator))
        self.log_rate = PerHead(torch.empty(heads).uniform_(1, 16, generator=generator).log())

    def forward(self, x: Tensor) -> Tensor:
        """Compute the log-decay of x [B, T, width]: [B, T, H]."""
        return -self.log_rate(len(x)).exp() * functional.softplus(self.project(x))


def check_eigenvalue_range(found: tuple[float, float]) -> None:
    if found not in ((0.0, 1.0), (-1.0, 1.0)):
        raise ValueError(f"eigenvalue_range must be [0, 1] or [-1, 1], got {list(found)}")


def unit(x: Tensor) -> Tensor:
    """Unit vectors along the last axis; zero stays zero, also in float16, which has no number as small as the usual bound."""
    wide = widened(x)
    return (wide * sum_of_squares(wide).clamp(min=1e-24).sqrt().reciprocal()).to(x.dtype)
