"""Features of inputs and of weights, drawn apart, whose inner product is a unit's output: sigma(w . x + b) = E[Phi(x) . Psi(w,
b)].

A unit that sees its weights only through such features is linear in them: two layers become one, trained by ridge regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Unit = Literal["sine", "gaussian"]


@dataclass(frozen=True)
class ActivationFeatures:
    """Universal random features of a unit (Sehanobish et al. 2023, arXiv:2310.13225), for sigma(z) = sin z or e^{-z^2 / 2}.

    sigma is an integral of waves e^{i omega z} (sin: omega = 1, its imaginary part; the Gaussian: omega ~ N(0, 1)), and each wave
    of w . x an average over g ~ N(0, I), since E e^{g . u} = e^{u . u / 2} holds for complex u as well:

        e^{i omega (w . x + b)} = E_g[e^{i omega g . x + omega^2 |x|^2 / 2} e^{i omega b + g . w - |w|^2 / 2}].

    The mean over m draws errs by m^{-1/2}, times a factor that grows as e^{(omega^2 |x|^2 + |w|^2) / 2}: inputs and weights
    should be of length about one.

    unit: which sigma. directions: g [m, d]. frequencies: omega [m].
    """

    unit: Unit
    directions: Tensor
    frequencies: Tensor

    @classmethod
    def drawn(cls, unit: Unit, inputs: int, count: int, generator: torch.Generator) -> ActivationFeatures:
        """Draw the features of `count` waves for inputs of this size."""
        directions = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
        waves = torch.randn(count, generator=generator, dtype=torch.float64)
        return cls(unit, directions, waves if unit == "gaussian" else torch.ones_like(waves))

    def of_inputs(self, x: Tensor) -> Tensor:
        """Phi of x [N, d]: [N, 2 m], real and imaginary parts.

        Raises ValueError for a Gaussian unit and |x|^2 of 1/2 or more, where the features' variance is infinite.
        """
        square = x.double().square().sum(1, keepdim=True)
        if self.unit == "gaussian" and float(square.max()) >= 0.5:
            raise ValueError(
                f"a Gaussian unit's features have a finite variance for |x|^2 below 0.5, got {float(square.max()):.3g}"
            )
        waves = self.frequencies
        phase, size = waves * (x.double() @ self.directions.T), (waves**2 * square / 2).exp()
        return torch.cat([size * phase.cos(), size * phase.sin()], 1) / math.sqrt(len(waves))

    def of_weights(self, weights: Tensor, biases: Tensor) -> Tensor:
        """Psi of weights [M, d] and biases [M]: [M, 2 m], so that Phi(x) . Psi(w, b) is the estimate."""
        weights, root = weights.double(), math.sqrt(len(self.frequencies))
        size = (weights @ self.directions.T - weights.square().sum(1, keepdim=True) / 2).exp()
        phase = self.frequencies * biases.double()[:, None]
        if self.unit == "sine":  # the imaginary part of the wave
            return torch.cat([size * phase.sin(), size * phase.cos()], 1) / root
        return torch.cat([size * phase.cos(), -size * phase.sin()], 1) / root

    def exact(self, x: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        """What the inner products estimate: sigma(w . x + b), [N, M]."""
        z = x.double() @ weights.double().T + biases.double()
        return z.sin() if self.unit == "sine" else (-(z**2) / 2).exp()
