"""Gaussian expectations of nonlinearities, which is all that an infinitely wide layer knows of its activation.

For (u, v) normal with mean zero, variances a and b and covariance c each nonlinearity f gives

    covariance(c, a, b) = E[f(u) f(v)]        derivative(c, a, b) = E[f'(u) f'(v)]

and the second is the derivative of the first by c (Price's theorem), which the tests hold each of them to.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...probe.plugins import Kinds


@dataclass(frozen=True)
class Nonlinearity(Kinds, family="nonlinearity"):
    """An activation function with its Gaussian expectations. Covariance c and variances a, b broadcast against each other."""

    @abstractmethod
    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """E[f(u) f(v)] for Var u = a, Var v = b, Cov(u, v) = c."""

    @abstractmethod
    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """E[f'(u) f'(v)] for Var u = a, Var v = b, Cov(u, v) = c."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """f itself, as a network of finite width applies it."""

    def expectations(self, c: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The covariance and the derivative together, for those who need both."""
        return self.covariance(c, a, b), self.derivative(c, a, b)

    def variance(self, a: Tensor) -> Tensor:
        """E[f(u)^2] for Var u = a."""
        return self.covariance(a, a, a)


@dataclass(frozen=True)
class Identity(Nonlinearity, kind="identity"):
    """f(x) = x: a deep linear network."""

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return c

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.ones_like(c)

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class ReLU(Nonlinearity, kind="relu"):
    """f(x) = max(x, 0) for x > 0 and `slope` times x below (0: ReLU, between 0 and 1: leaky ReLU, -1: the absolute value).

    The arc-cosine kernels (Cho and Saul 2009): with t the angle of u and v,
    E[relu relu] = sqrt(a b) (sin t + (pi - t) cos t) / (2 pi), E[relu' relu'] = (pi - t) / (2 pi); and
    f = slope x + (1 - slope) relu, whose mixed terms are c / 2.
    """

    slope: float = 0.0

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.expectations(c, a, b)[0]

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.expectations(c, a, b)[1]

    def expectations(self, c: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        scale, share = (a * b).sqrt(), (1 - self.slope) ** 2 / (2 * math.pi)
        cosine = _cosine(c, scale)
        rest = math.pi - cosine.acos()
        sine = torch.addcmul(cosine.new_ones(()), cosine, cosine, value=-1).sqrt()
        covariance = torch.addcmul(sine, rest, cosine).mul(scale * share)
        return (covariance, rest * share) if self.slope == 0 else (covariance + self.slope * c, rest * share + self.slope)

    def variance(self, a: Tensor) -> Tensor:
        return (1 + self.slope**2) / 2 * a  # by itself, since autograd finds no slope of the angle at angle zero

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)


@dataclass(frozen=True)
class Erf(Nonlinearity, kind="erf"):
    """f(x) = erf(x) (Williams 1997): E = (2 / pi) asin(2 c / sqrt((1 + 2 a) (1 + 2 b)))."""

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return 2 / math.pi * (2 * c / ((1 + 2 * a) * (1 + 2 * b)).sqrt()).asin()

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return 4 / math.pi / ((1 + 2 * a) * (1 + 2 * b) - 4 * c**2).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.erf(x)


@dataclass(frozen=True)
class Sine(Nonlinearity, kind="sine"):
    """f(x) = sin(x): E = e^{-(a + b) / 2} sinh(c)."""

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return ((c - (a + b) / 2).exp() - (-c - (a + b) / 2).exp()) / 2

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return ((c - (a + b) / 2).exp() + (-c - (a + b) / 2).exp()) / 2

    def __call__(self, x: Tensor) -> Tensor:
        return x.sin()


@dataclass(frozen=True)
class GELU(Nonlinearity, kind="gelu"):
    """f(x) = x Phi(x), Phi the normal distribution function.

    With A = 1 + a, B = 1 + b, D = A B - c^2 and g = 1 / A + 1 / B - 1, by Stein's lemma twice
    E[f f] = c (1/4 + asin(c / sqrt(A B)) / (2 pi)) + (a b + g c^2) / (2 pi sqrt D).
    """

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        both, determinant, mixed = _gelu_terms(c, a, b)
        return c * both + (a * b + mixed * c**2) / (2 * math.pi * determinant.sqrt())

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        both, determinant, mixed = _gelu_terms(c, a, b)
        inner = 1 + 2 * mixed + (a * b + mixed * c**2) / determinant
        return both + c * inner / (2 * math.pi * determinant.sqrt())

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(x)


@dataclass(frozen=True)
class Quadrature(Nonlinearity):
    """A smooth function without closed forms: a Gauss-Hermite rule of `nodes` points in each of two directions."""

    nodes: int = 80

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """The derivative f'(x), elementwise."""

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return _expectation(self, c, a, b, self.nodes)

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return _expectation(self.slope, c, a, b, self.nodes)


@dataclass(frozen=True)
class Tanh(Quadrature, kind="tanh"):
    """f(x) = tanh(x). With nodes = 80 and variances up to 3 it agrees with adaptive quadrature to 1e-7."""

    def slope(self, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x) ** 2

    def __call__(self, x: Tensor) -> Tensor:
        return x.tanh()


@dataclass(frozen=True)
class SiLU(Quadrature, kind="silu"):
    """f(x) = x / (1 + e^{-x}), also called swish."""

    def slope(self, x: Tensor) -> Tensor:
        gate = x.sigmoid()
        return gate * (1 + x * (1 - gate))

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x)


@dataclass(frozen=True)
class GoLU(Quadrature, kind="golu"):
    """f(x) = x e^{-e^{-x}}, gated by the Gompertz function, whose slope at 0 is 1 / e (Das et al. 2025, arXiv:2502.03654)."""

    def slope(self, x: Tensor) -> Tensor:
        falling = (-x).exp()
        return (-falling).exp() + (x.abs().log() - x - falling).exp() * x.sign()  # x e^{-x} e^{-e^{-x}}: e^{-x} may overflow

    def __call__(self, x: Tensor) -> Tensor:
        return x * (-(-x).exp()).exp()


def _cosine(c: Tensor, scale: Tensor) -> Tensor:
    """The cosine of the angle of u and v. An input of variance zero is at a right angle to all others."""
    return (c / scale.clamp(min=torch.finfo(scale.dtype).tiny)).clamp(-1, 1)


def _gelu_terms(c: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first, second = 1 + a, 1 + b
    both = 0.25 + (c / (first * second).sqrt()).asin() / (2 * math.pi)
    return both, first * second - c**2, 1 / first + 1 / second - 1


def _expectation(f: Callable[[Tensor], Tensor], c: Tensor, a: Tensor, b: Tensor, nodes: int) -> Tensor:
    """E[f(u) f(v)] on a grid: u = sqrt(a) x, v = (c / sqrt a) x + sqrt(b - c^2 / a) y with x, y independent."""
    points, weights = (torch.as_tensor(part, dtype=c.dtype) for part in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    c, a, b = torch.broadcast_tensors(c, a, b)
    root = a.sqrt()
    slope = torch.where(root > 0, c / root.where(root > 0, torch.ones_like(root)), torch.zeros_like(c))
    spread = (b - slope**2).clamp(min=0).sqrt()
    first = f(root[..., None] * points)
    inner = torch.zeros_like(first)
    for point, weight in zip(points, weights, strict=True):
        inner += weight * f(slope[..., None] * points + spread[..., None] * point)
    return (first * inner * weights).sum(-1)
