"""Linear state spaces whose transition no token chooses: h_t = Lambda h_{t-1} + B u_t, with a complex diagonal Lambda.

LRU (Orvieto et al. 2023, arXiv:2303.06349): Lambda = exp(-e^nu + i e^theta) on a ring, inputs scaled by sqrt(1 - |Lambda|^2),
y = Re(C h) + D u. S5 (Smith et al. 2023, arXiv:2208.04933): Lambda = e^{A step}, A from HiPPO-LegS, a step for each state,
zero-order hold, y = 2 Re(C h) + D u. S4D (Gu et al. 2022, arXiv:2206.11893): as S5, but each channel has its own N states.
Lambda and the states are complex64 at least, whatever the dtype of the parameters: a modulus near 1 is none in bfloat16.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...kernels.operators.linear_system import LinearSystem
from ...kernels.precision import widened
from ..hooks.points import complex_of
from .base import ComplexLinear, Mixer, MixerConfig, StateRequest, linear
from .heads import RecurrentMixer
from .hippo import legs_diagonal
from .points import DIAGONAL_VECTOR_STATE, Z_WITHOUT_HEADS
from .recurrences import DIAGONAL_SCAN
from .spectrum import FIXED_ROTATIONS, AllowedSpectrum

POINTS = (*complex_of(DIAGONAL_VECTOR_STATE), Z_WITHOUT_HEADS)


@dataclass(frozen=True)
class LRU(MixerConfig, kind="lru"):
    """The LRU is a linear recurrence whose state channels each have a complex eigenvalue."""

    points = POINTS

    state_size: int = 32
    """The state has so many complex channels."""
    radius: tuple[float, float] = (0.9, 0.999)
    """Eigenvalues start on this ring, from its inner to its outer radius."""
    phase: float = 2 * math.pi
    """Their angles start below this one, in radians."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_ROTATIONS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return LRUMixer(self, width, generator)


@dataclass(frozen=True)
class S5(MixerConfig, kind="s5"):
    """S5 runs one diagonal state space, which starts from HiPPO-LegS, on all channels together."""

    points = POINTS

    state_size: int = 32
    """There are N real states, which are N / 2 complex pairs."""
    step: tuple[float, float] = (1e-3, 0.1)
    """The steps, which are learned, start in this range, log-uniform."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_ROTATIONS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return S5Mixer(self, width, generator)


@dataclass(frozen=True)
class S4D(MixerConfig, kind="s4d"):
    """S4D runs a diagonal state space of its own on each channel."""

    points = POINTS

    state_size: int = 16
    """Each channel has N real states, which are N / 2 complex pairs."""
    start: Literal["legs", "lin", "inv"] = "legs"
    """A starts as "legs", "lin" (-1/2 + i pi n) or "inv" (-1/2 + i N/pi (N/(2n+1) - 1))."""
    step: tuple[float, float] = (1e-3, 0.1)
    """The steps, which are learned, start in this range, log-uniform."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_ROTATIONS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return S4DMixer(self, width, generator)


def _lin(size: int) -> Tensor:
    n = torch.arange(size // 2, dtype=torch.float64)
    return torch.complex(torch.full_like(n, -0.5), math.pi * n)


def _inv(size: int) -> Tensor:
    n = torch.arange(size // 2, dtype=torch.float64)
    return torch.complex(torch.full_like(n, -0.5), size / math.pi * (size / (2 * n + 1) - 1))


STARTS: dict[str, Callable[[int], Tensor]] = {"legs": legs_diagonal, "lin": _lin, "inv": _inv}  # N -> [N / 2] eigenvalues of A


class StateSpaceMixer(RecurrentMixer):
    """What the three share: the scan, the read-out's nonlinearity, and the output matrix."""

    recurrence = DIAGONAL_SCAN

    def __init__(self, config: MixerConfig, width: int, heads: int, channels: int, generator: Generator) -> None:
        super().__init__(config.kind, config.points, config.absences)
        self.axis_sizes = {"head": heads, "channel": channels, "rank": 0}
        self.skip = nn.Parameter(torch.randn(width, generator=generator))
        self.project_out = linear(width, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix, [1, width, width]."""
        return self.project_out.weight.T[None]

    @abstractmethod
    def linear_system(self) -> LinearSystem:
        """The linear part of the layer, from its inputs x [B, T, width], as heads [B, T, H, M], to its outputs y [B, T, H, P]."""

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        """What the layer gives for the outputs y of its linear system, [B, T, width]: W gelu(y + D x)."""
        mixed: Tensor = self.project_out(self.hook_z(functional.gelu(y.to(x.dtype) + self.skip * x)))
        return mixed

    def run(self, drive: Tensor, decay: Tensor, request: StateRequest) -> Tensor:
        """The states [B, T, H, C] of drive [B, T, H, C] under decay [H, C]."""
        return self.recur(self.fire(x=drive, decay=decay.expand(drive.shape)), request)


class LRUMixer(StateSpaceMixer):
    """The module that runs the LRU."""

    def __init__(self, config: LRU, width: int, generator: Generator) -> None:
        super().__init__(config, width, 1, config.state_size, generator)
        low, high = config.radius
        u, v = (torch.rand(config.state_size, generator=generator) for _ in range(2))
        self.nu = nn.Parameter((-0.5 * (u * (high**2 - low**2) + low**2).log()).log())
        self.theta = nn.Parameter((config.phase * v).clamp_min(1e-6).log())
        self.inward = ComplexLinear(width, config.state_size, generator)
        self.outward = ComplexLinear(config.state_size, width, generator)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Lambda and the scale of its inputs, each [C]."""
        decay = torch.polar((-widened(self.nu).exp()).exp(), widened(self.theta).exp())
        return decay, (1 - decay.abs().square()).sqrt()

    def linear_system(self) -> LinearSystem:
        decay, gamma = self.coefficients()
        return LinearSystem.of_diagonal(decay[None], gamma[:, None] * self.inward.matrix[None], self.outward.matrix[None])

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        decay, gamma = self.coefficients()
        drive = gamma * self.inward(x)
        states = self.run(drive[:, :, None], decay[None], request)
        return self.finish(self.outward(states[:, :, 0]).real, x)


class S5Mixer(StateSpaceMixer):
    """The module that runs S5."""

    def __init__(self, config: S5, width: int, generator: Generator) -> None:
        pairs = config.state_size // 2
        super().__init__(config, width, 1, pairs, generator)
        start = legs_diagonal(config.state_size).to(torch.complex64)
        self.log_real, self.imaginary = nn.Parameter((-start.real).log()), nn.Parameter(start.imag.clone())
        self.log_step = nn.Parameter(torch.empty(pairs).uniform_(*map(math.log, config.step), generator=generator))
        self.inward = ComplexLinear(width, pairs, generator)
        self.outward = ComplexLinear(pairs, width, generator)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Lambda and the scale of its inputs, each [C]."""
        a = torch.complex(-widened(self.log_real).exp(), widened(self.imaginary))
        decay = (a * widened(self.log_step).exp()).exp()
        return decay, (decay - 1) / a

    def linear_system(self) -> LinearSystem:
        decay, scale = self.coefficients()
        return LinearSystem.of_diagonal(decay[None], scale[:, None] * self.inward.matrix[None], 2 * self.outward.matrix[None])

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        decay, scale = self.coefficients()
        drive = scale * self.inward(x)
        states = self.run(drive[:, :, None], decay[None], request)
        return self.finish(2 * self.outward(states[:, :, 0]).real, x)


class S4DMixer(StateSpaceMixer):
    """The module of S4D. Each channel of the width is a head with N / 2 complex states."""

    def __init__(self, config: S4D, width: int, generator: Generator) -> None:
        pairs = config.state_size // 2
        super().__init__(config, width, width, pairs, generator)
        start = STARTS[config.start](config.state_size).to(torch.complex64).expand(width, pairs)
        self.log_real, self.imaginary = nn.Parameter((-start.real).log()), nn.Parameter(start.imag.clone())
        self.log_step = nn.Parameter(torch.empty(width).uniform_(*map(math.log, config.step), generator=generator))
        self.outward = nn.Parameter(torch.randn(width, pairs, 2, generator=generator) * 0.5**0.5)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Lambda and the scale of its inputs, each [width, C]."""
        a = torch.complex(-widened(self.log_real).exp(), widened(self.imaginary))
        decay = (a * widened(self.log_step).exp()[:, None]).exp()
        return decay, (decay - 1) / a

    def linear_system(self) -> LinearSystem:
        decay, scale = self.coefficients()
        return LinearSystem.of_diagonal(decay, scale[..., None], 2 * torch.view_as_complex(widened(self.outward))[:, None])

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        decay, scale = self.coefficients()
        states = self.run(scale * x[..., None], decay, request)
        return self.finish(2 * (states * torch.view_as_complex(widened(self.outward))).sum(-1).real, x)
