"""Functions of real inputs that are drawn anew for each sequence, and what is known of each family before it is seen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, pi

import torch
from torch import Generator, Tensor

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
MOST_SUPPORTS = 2000  # of sparse weights, over which Bayes' prediction averages
JITTER = 1e-9  # variance that stands for none, so that Gram matrices of more examples than features can be factored


@dataclass(frozen=True)
class RandomFunction:
    """Base of the families. dimension: of the inputs. active, scale: what the family makes of them, see each."""

    dimension: int
    active: int
    scale: float

    def check(self) -> None:
        """Raise ValueError for settings that the family does not have."""

    def inputs(self, count: int, examples: int, generator: Generator) -> Tensor:
        """Draw inputs x ~ N(0, 1), [count, examples, dimension]."""
        return torch.randn(count, examples, self.dimension, generator=generator, dtype=torch.float64)

    def features(self, x: Tensor) -> Tensor:
        """What linear fits are made to, [B, n, features]: what f is linear in with weights N(0, 1), and x itself elsewhere."""
        return x

    @abstractmethod
    def outputs(self, x: Tensor, generator: Generator) -> Tensor:
        """Draw a function for each row of inputs x [B, n, dimension], and give its values [B, n]."""

    def covariance(self, x: Tensor) -> Tensor:
        """The covariance of the function at inputs x before it is seen: [B, n, n]. Sparse weights count as dense."""
        return gram(self.features(x))

    def posterior_mean(self, x: Tensor, y: Tensor, variance: float) -> Tensor:
        """The mean of f(x_i) given the examples before it, whose y have noise of a variance: [B, n]."""
        return each_prefix(self.covariance(x), y, lambda k, c, y: posterior(k, c, y, variance))


class Linear(RandomFunction):
    """w . x with weights w ~ N(0, 1), or of features of x."""

    def outputs(self, x: Tensor, generator: Generator) -> Tensor:
        features = self.features(x)
        return (features * self.weights(len(x), features.shape[-1], generator)[:, None]).sum(-1)

    def weights(self, count: int, size: int, generator: Generator) -> Tensor:
        """Draw the weights of `count` functions, [count, size]."""
        return torch.randn(count, size, generator=generator, dtype=torch.float64)


class Sparse(Linear):
    """The same with all but `active` of the weights 0, which ones being equally likely."""

    def check(self) -> None:
        if not 1 <= self.active <= self.dimension:
            raise ValueError(f"active={self.active} must be from 1 to the dimension, {self.dimension}")

    def weights(self, count: int, size: int, generator: Generator) -> Tensor:
        weights = super().weights(count, size, generator)
        return torch.where(torch.rand(weights.shape, generator=generator).argsort(1) < self.active, weights, 0)

    def posterior_mean(self, x: Tensor, y: Tensor, variance: float) -> Tensor:
        """The mean over the sets of weights that are not 0. Raises ValueError where there are more than 2000 of them."""
        if comb(self.dimension, self.active) > MOST_SUPPORTS:
            raise ValueError(f"{self.active} of {self.dimension} weights can be chosen in more than {MOST_SUPPORTS} ways")
        supports = [list(chosen) for chosen in combinations(range(self.dimension), self.active)]

        def predict(known: Tensor, cross: Tensor, y: Tensor) -> Tensor:
            y = y[:, None].expand(known.shape[:-1])
            weight = _log_evidence(known, y, variance).softmax(1)
            return (weight * posterior(known, cross, y, variance)).sum(1)

        return each_prefix(torch.stack([gram(x[..., chosen]) for chosen in supports], dim=1), y, predict)


class FourierSeries(Linear):
    """a_0 / sqrt(2) + sum_n a_n cos(pi n x) + b_n sin(pi n x) of x uniform in [-1, 1], with n up to `active`, all coefficients
    ~ N(0, 1) / active (Ahuja et al. 2023, arXiv:2306.04891).
    """

    def check(self) -> None:
        if self.dimension != 1:
            raise ValueError(f"a Fourier series has dimension 1, got {self.dimension}")

    def inputs(self, count: int, examples: int, generator: Generator) -> Tensor:
        """Draw inputs x uniform in [-1, 1], [count, examples, 1]."""
        return 2 * torch.rand(count, examples, self.dimension, generator=generator, dtype=torch.float64) - 1

    def features(self, x: Tensor) -> Tensor:
        order = torch.arange(1, self.active + 1, dtype=x.dtype)
        constant = torch.full_like(x, 0.5**0.5)
        return torch.cat([constant, (pi * order * x).cos(), (pi * order * x).sin()], dim=-1) / self.active


class GaussianProcess(RandomFunction):
    """A Gaussian process with covariance exp(-|x - x'|^2 / (2 scale^2))."""

    def covariance(self, x: Tensor) -> Tensor:
        return (-torch.cdist(x, x).square() / (2 * self.scale**2)).exp()

    def outputs(self, x: Tensor, generator: Generator) -> Tensor:
        covariance = self.covariance(x) + JITTER * torch.eye(x.shape[1], dtype=x.dtype)
        drawn = torch.randn(*x.shape[:2], 1, generator=generator, dtype=torch.float64)
        return (torch.linalg.cholesky(covariance) @ drawn)[..., 0]


FAMILIES: dict[str, type[RandomFunction]] = {
    "linear": Linear,
    "sparse": Sparse,
    "gaussian_process": GaussianProcess,
    "fourier": FourierSeries,
}


def gram(features: Tensor) -> Tensor:
    """The inner products [..., n, n] of features [..., n, d]."""
    return features @ features.mT


def each_prefix(gram: Tensor, y: Tensor, predict: Predict) -> Tensor:
    """predict(K of the examples so far, their row with the next, their y) for each next example: [B, n]; 0 for the first."""
    found = [torch.zeros_like(y[:, 0])]
    found += [predict(gram[..., :n, :n], gram[..., n, :n], y[:, :n]) for n in range(1, y.shape[1])]
    return torch.stack(found, dim=1)


def least_squares(known: Tensor, cross: Tensor, y: Tensor) -> Tensor:
    """c K^+ y: the least-squares fit, of the smallest norm where there are several."""
    return (cross * (torch.linalg.pinv(known, rtol=1e-10, hermitian=True) @ y[..., None])[..., 0]).sum(-1)


def posterior(known: Tensor, cross: Tensor, y: Tensor, variance: float) -> Tensor:
    """c (K + variance)^{-1} y: the posterior mean of a Gaussian process, or ridge regression with that penalty."""
    noisy = known + variance * torch.eye(known.shape[-1], dtype=known.dtype)
    return (cross * torch.linalg.solve(noisy, y[..., None])[..., 0]).sum(-1)


def _log_evidence(known: Tensor, y: Tensor, variance: float) -> Tensor:
    """log N(y; 0, K + variance), but for a constant."""
    noisy = known + variance * torch.eye(known.shape[-1], dtype=known.dtype)
    fit = (y * torch.linalg.solve(noisy, y[..., None])[..., 0]).sum(-1)
    return -0.5 * (fit + torch.linalg.slogdet(noisy).logabsdet)
