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

import torch
from torch import Tensor, nn

from ...probe.plugins import Kinds

ROUNDING = 16  # of a cosine, in units of the last place
REACH = 9.0  # standard deviations, beyond which a normal variable has a density below rounding
LEAST_POINTS, MOST_POINTS = 48, 4096  # of a trapezoidal rule


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
        opposite = _opposite_cosine(c, scale)
        rest = opposite.acos()
        sine = torch.addcmul(opposite.new_ones(()), opposite, opposite, value=-1).sqrt()
        covariance = torch.addcmul(sine, rest, opposite, value=-1).mul(scale * share)
        return (covariance, rest * share) if self.slope == 0 else (covariance + self.slope * c, rest * share + self.slope)

    def variance(self, a: Tensor) -> Tensor:
        """E[f(u)^2] = (1 + slope^2) a / 2, by itself since autograd finds no slope of the angle at angle zero.

        It takes the steps of the covariance at that angle: what differed by a rounding in each layer would part an input from
        itself in a deep network.
        """
        same = a * ((1 - self.slope) ** 2 / (2 * math.pi)) * math.pi
        return same if self.slope == 0 else same + self.slope * a

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)


@dataclass(frozen=True)
class Erf(Nonlinearity, kind="erf"):
    """f(x) = erf(x) (Williams 1997): E = (2 / pi) asin(2 c / sqrt((1 + 2 a) (1 + 2 b))).

    With D = (1 + 2 a) (1 + 2 b) - 4 c^2 that is (2 / pi) atan(2 c / sqrt D), and E' = (4 / pi) / sqrt D.
    """

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan2(2 * c, _determinant(2 * c, 2 * a, 2 * b).sqrt())

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return 4 / math.pi / _determinant(2 * c, 2 * a, 2 * b).sqrt()

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

    With A = 1 + a, B = 1 + b, D = A B - c^2 and h = 1 / A + 1 / B, by Stein's lemma twice

        E[f f] = c (1/4 + atan(c / sqrt D) / (2 pi)) + (a b - c^2 + h c^2) / (2 pi sqrt D)
        E[f' f'] = 1/4 + atan(c / sqrt D) / (2 pi) + c (h + 1 / D) / (2 pi sqrt D).
    """

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        both, determinant, inverse = _gelu_terms(c, a, b)
        return c * both + ((a * b - c**2) + inverse * c**2) / (2 * math.pi * determinant.sqrt())

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        both, determinant, inverse = _gelu_terms(c, a, b)
        return both + c * (inverse + 1 / determinant) / (2 * math.pi * determinant.sqrt())

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(x)


@dataclass(frozen=True)
class Quadrature(Nonlinearity):
    """A smooth function without closed forms: the trapezoidal rule in each of two independent normal directions.

    For functions that are analytic in a strip around the real line its error falls exponentially with the strip's width over the
    points' distance in the argument of f (Trefethen and Weideman 2014, doi:10.1137/130932132), whatever the variance. At this
    `spacing` covariances and derivatives agree with adaptive quadrature to 1e-11. Points, and with them time and memory, grow
    with the standard deviation: ValueError where more than 4,096 would be needed.
    """

    spacing: float = 0.25

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """The derivative f'(x), elementwise."""

    def covariance(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return _expectation(self, c, a, b, self.spacing)

    def derivative(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return _expectation(self.slope, c, a, b, self.spacing)

    def variance(self, a: Tensor) -> Tensor:
        points, weights = _normal_rule(a, self.spacing)
        return (self(a.sqrt()[..., None] * points).square() * weights).sum(-1)


@dataclass(frozen=True)
class Tanh(Quadrature, kind="tanh"):
    """f(x) = tanh(x), whose strip without poles has half the width pi / 2."""

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


def _opposite_cosine(c: Tensor, scale: Tensor) -> Tensor:
    """Minus the cosine of the angle of u and v. An input of variance zero is at a right angle to all others.

    Within rounding of 1 or -1 it is that: an angle is the root of what the cosine lacks, so that rounding would set an input 1e-8
    apart from itself.
    """
    most = 1 - ROUNDING * torch.finfo(scale.dtype).eps
    cosine = nn.functional.threshold(c / scale.clamp(min=torch.finfo(scale.dtype).tiny), -most, -1.0)
    return nn.functional.threshold(-cosine, -most, -1.0)


def _gelu_terms(c: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    determinant = _determinant(c, a, b)
    both = 0.25 + torch.atan2(c, determinant.sqrt()) / (2 * math.pi)
    return both, determinant, 1 / (1 + a) + 1 / (1 + b)


def _determinant(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(1 + a) (1 + b) - c^2, at least 1; so written that nothing cancels but what does for large variances of one input too."""
    return (1 + a + b + (a * b - c**2)).clamp(min=1)


def _normal_rule(variances: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Points [n] of a standard normal variable and their weights, `spacing` apart once scaled to the largest deviation."""
    deviation = float(variances.detach().max().sqrt())
    count = max(LEAST_POINTS, math.ceil(2 * REACH * deviation / spacing))
    if count > MOST_POINTS:
        raise ValueError(f"a variance of {deviation**2:.3g} needs {count} points a direction; scale the inputs or weights down")
    points = torch.linspace(-REACH, REACH, count, dtype=variances.dtype, device=variances.device)
    weights = (-points.square() / 2).exp()
    return points, weights / weights.sum()


def _expectation(f: Callable[[Tensor], Tensor], c: Tensor, a: Tensor, b: Tensor, spacing: float) -> Tensor:
    """E[f(u) f(v)] on a grid: u = sqrt(a) x, v = (c / sqrt a) x + sqrt(b - c^2 / a) y with x, y independent."""
    c, a, b = torch.broadcast_tensors(c, a, b)
    points, weights = _normal_rule(torch.maximum(a, b), spacing)
    root = a.sqrt()
    slope = torch.where(root > 0, c / root.where(root > 0, torch.ones_like(root)), torch.zeros_like(c))
    spread = (b - slope**2).clamp(min=0).sqrt()
    first = f(root[..., None] * points)
    inner = torch.zeros_like(first)
    for point, weight in zip(points, weights, strict=True):
        inner += weight * f(slope[..., None] * points + spread[..., None] * point)
    return (first * inner * weights).sum(-1)
