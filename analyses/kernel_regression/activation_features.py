"""Features of inputs and of weights, drawn apart, whose inner product is a unit's output: sigma(w . x + b) = E[Phi(x) . Psi(w,
b)].

A unit that sees its weights only through such features is linear in them: two layers become one, trained by ridge regression.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActivationFeatures(ABC):
    """Universal random features of a unit sigma (Sehanobish et al. 2023, arXiv:2310.13225).

    sigma is an integral of waves e^{i omega z}, and each wave of w . x an average over g ~ N(0, I), since E e^{g . u} =
    e^{u . u / 2} holds for complex u as well:

        e^{i omega (w . x + b)} = E_g[e^{i omega g . x + omega^2 |x|^2 / 2} e^{i omega b + g . w - |w|^2 / 2}].

    The mean over m draws errs by m^{-1/2}, times a factor that grows as e^{(omega^2 |x|^2 + |w|^2) / 2}: inputs and weights
    should be of length about one.

    directions: g [m, d]. frequencies: omega [m]. bound: below it lie the squared lengths of inputs whose features have a finite
    variance.
    """

    directions: Tensor
    frequencies: Tensor

    bound: ClassVar[float] = math.inf

    @classmethod
    def drawn(cls, inputs: int, count: int, generator: torch.Generator) -> Self:
        """Draw the features of `count` waves for inputs of this size."""
        directions = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
        return cls(directions, cls._frequencies(torch.randn(count, generator=generator, dtype=torch.float64)))

    def of_inputs(self, x: Tensor) -> Tensor:
        """Phi of x [N, d]: [N, 2 m], real and imaginary parts. Raises ValueError where its variance is infinite."""
        waves, square = self.frequencies, x.double().square().sum(1, keepdim=True)
        if float(square.max()) >= self.bound:
            raise ValueError(f"these features have a finite variance for |x|^2 below {self.bound}, got {float(square.max()):.3g}")
        phase, size = waves * (x.double() @ self.directions.T), (waves**2 * square / 2).exp()
        return torch.cat([size * phase.cos(), size * phase.sin()], 1) / math.sqrt(len(waves))

    def of_weights(self, weights: Tensor, biases: Tensor) -> Tensor:
        """Psi of weights [M, d] and biases [M]: [M, 2 m], so that Phi(x) . Psi(w, b) is the estimate."""
        weights, phase = weights.double(), self.frequencies * biases.double()[:, None]
        size = (weights @ self.directions.T - weights.square().sum(1, keepdim=True) / 2).exp()
        return torch.cat([size * part for part in self._parts(phase)], 1) / math.sqrt(len(self.frequencies))

    def exact(self, x: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        """What the inner products estimate: sigma(w . x + b), [N, M]."""
        return self._unit(x.double() @ weights.double().T + biases.double())

    @staticmethod
    @abstractmethod
    def _frequencies(drawn: Tensor) -> Tensor:
        """The frequencies that sigma is an integral over, from standard normal numbers [m]."""

    @staticmethod
    @abstractmethod
    def _parts(phase: Tensor) -> tuple[Tensor, Tensor]:
        """What the cosine and the sine of the inputs' phases are multiplied by, so that the sum is sigma's part of the wave."""

    @staticmethod
    @abstractmethod
    def _unit(z: Tensor) -> Tensor:
        """Compute sigma itself."""


class SineFeatures(ActivationFeatures):
    """Features of sigma(z) = sin z, the imaginary part of one wave, omega = 1."""

    @staticmethod
    def _frequencies(drawn: Tensor) -> Tensor:
        return torch.ones_like(drawn)

    @staticmethod
    def _parts(phase: Tensor) -> tuple[Tensor, Tensor]:
        return phase.sin(), phase.cos()

    @staticmethod
    def _unit(z: Tensor) -> Tensor:
        return z.sin()


class GaussianFeatures(ActivationFeatures):
    """Features of sigma(z) = e^{-z^2 / 2}, the mean of waves with omega ~ N(0, 1); for inputs with |x|^2 below 1/2."""

    bound = 0.5

    @staticmethod
    def _frequencies(drawn: Tensor) -> Tensor:
        return drawn

    @staticmethod
    def _parts(phase: Tensor) -> tuple[Tensor, Tensor]:
        return phase.cos(), -phase.sin()

    @staticmethod
    def _unit(z: Tensor) -> Tensor:
        return (-(z**2) / 2).exp()
