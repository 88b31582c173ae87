"""LSSL, the linear state-space layer: x' = A x + B u, y = C x + D u for each channel u, discretised (Gu et al. 2021,
arXiv:2110.13985).

A and B are a HiPPO system and are not trained unless asked for; the step of each channel is. The layers that came after it keep a
diagonal of A alone (S4D, S5); here the state holds the coefficients of the channel's past, as HiPPO has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from ...kernels.dense_scan import dense_scan
from ...kernels.operators.linear_system import LinearSystem
from ...kernels.operators.transition import Transition
from ...kernels.precision import widened
from ..hooks.names import MIXING_PLACE
from .base import Mixer, MixerConfig, StateRequest
from .hippo import discretise, system
from .points import VECTOR_STATE, Z_WITHOUT_HEADS, X
from .recurrences import Recurrence, Tokens
from .spectrum import FIXED_ROTATIONS, AllowedSpectrum
from .state_space import StateSpaceMixer


@dataclass(frozen=True)
class LSSL(MixerConfig, kind="lssl"):
    """A linear state space layer, whose A and B come from HiPPO."""

    points = (X, *VECTOR_STATE, Z_WITHOUT_HEADS)
    absences: ClassVar[Mapping[str, str]] = {
        MIXING_PLACE: "each channel has a kernel of its own, C A^(t - s) B; hook_transition and hook_write make it up"
    }

    state_size: int = 16
    """Each channel has N coefficients."""
    system: Literal["legs", "legt", "fout"] = "legs"
    """A and B project on these bases: "legs", "legt" or "fout"."""
    rule: Literal["euler", "backward", "bilinear", "zoh"] = "bilinear"
    """The system is discretised by it: "euler", "backward", "bilinear" or "zoh"."""
    step: tuple[float, float] = (1e-3, 0.1)
    """The steps, which are learned, start in this range, log-uniform."""
    learned: bool = False
    """A and B are trained too."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_ROTATIONS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return LSSLMixer(self, width, generator)


def _transition(tokens: Tokens) -> Transition:
    """A = 0 + A I^T, the same at each token."""
    x, matrix = tokens["x"], tokens["matrix"]
    left = matrix.expand(*x.shape[:2], *matrix.shape)
    return Transition(torch.zeros_like(x), left, torch.eye(matrix.shape[-1], dtype=x.dtype, device=x.device).expand(left.shape))


DENSE_SCAN = Recurrence(dense_scan, _transition, lambda tokens: tokens["x"])


class LSSLMixer(StateSpaceMixer):
    """The module of LSSL. Each channel of the width is a head with N states."""

    recurrence = DENSE_SCAN

    def __init__(self, config: LSSL, width: int, generator: Generator) -> None:
        super().__init__(config, width, width, config.state_size, generator)
        self.axis_sizes |= {"rank": config.state_size}
        self.rule = config.rule
        for name, tensor in zip(("a", "b"), system(config.system, config.state_size), strict=True):
            held = tensor.to(torch.float32)
            if config.learned:
                self.register_parameter(name, nn.Parameter(held))
            else:
                self.register_buffer(name, held)
        self.log_step = nn.Parameter(torch.empty(width).uniform_(*map(math.log, config.step), generator=generator))
        self.outward = nn.Parameter(torch.randn(width, config.state_size, generator=generator) * config.state_size**-0.5)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """A [width, N, N] and B [width, N] of each channel, discretised with its step."""
        a, b, log_step = (widened(system) for system in (self.a, self.b, self.log_step))
        return discretise(a, b, log_step.exp(), self.rule)

    def linear_system(self) -> LinearSystem:
        matrix, drive = self.coefficients()
        return LinearSystem(matrix, drive[..., None], widened(self.outward)[:, None])

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        matrix, drive = self.coefficients()
        states = self.recur(self.fire(x=drive * x[..., None]), request, matrix=matrix)
        return self.finish((states * self.outward).sum(-1), x)
