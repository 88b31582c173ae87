"""In-context regression: a function of real inputs from examples of it (Garg et al. 2022, arXiv:2208.01066)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb, pi
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from .base import Batch, Split, Task, draw_split

Function = Literal["linear", "sparse", "gaussian_process", "fourier"]
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
MOST_SUPPORTS = 2000  # of sparse weights, over which Bayes' prediction averages
JITTER = 1e-9  # variance that stands for none, so that Gram matrices of more examples than features can be factored


@dataclass(frozen=True)
class InContextRegression(Task, kind="in_context_regression"):
    """x_1, y_1, x_2, y_2, ... with y_i = f(x_i) + noise, f drawn anew for each sequence; the target at x_i is y_i.

    function: of x ~ N(0, 1)^dimension,
        "linear": w . x, w ~ N(0, 1)^dimension;
        "sparse": the same with all but `active` of the weights 0, which ones being equally likely;
        "gaussian_process": with covariance exp(-|x - x'|^2 / (2 scale^2));
        of x uniform in [-1, 1] (dimension 1), "fourier": a_0 / sqrt(2) + sum_n a_n cos(pi n x) + b_n sin(pi n x) with n up to
        `active`, all coefficients ~ N(0, 1) / active (Ahuja et al. 2023, arXiv:2306.04891).

    A position is dimension + 1 real numbers: (x_i, 0), or (0, y_i).
    """

    function: Function = "linear"
    """The function f is of this kind, see above."""
    dimension: int = 4
    """Each x is so many numbers."""
    active: int = 2
    """Of a sparse f, so many weights are not 0; of a Fourier series, so many frequencies there are."""
    noise: float = 0.0
    """What is added to each y has this standard deviation."""
    scale: float = 1.0
    """The covariance of the Gaussian process falls over this length."""

    def __post_init__(self) -> None:
        if self.function not in get_args(Function):
            raise ValueError(f"function={self.function!r} is not known; one of {', '.join(get_args(Function))}")
        if self.function == "fourier" and self.dimension != 1:
            raise ValueError(f"a Fourier series has dimension 1, got {self.dimension}")
        if self.function == "sparse" and not 1 <= self.active <= self.dimension:
            raise ValueError(f"active={self.active} must be from 1 to the dimension, {self.dimension}")
        if min(self.dimension, self.active) < 1 or self.noise < 0 or self.scale <= 0:
            raise ValueError("dimension and active must be at least 1, noise at least 0, and scale above 0")

    @property
    def vocabulary(self) -> int:
        return 1

    @property
    def inputs(self) -> int:
        return self.dimension + 1

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        if length % 2 or not length:
            raise ValueError(f"length {length} must be even: examples are pairs of positions, x_i and y_i")

        def draw(count: int) -> Tensor:
            x = self._inputs(count, length // 2, generator)
            y = self._outputs(x, generator)
            return torch.cat([x, y[..., None]], dim=-1)

        x, y = draw_split(draw, size, split).split([self.dimension, 1], dim=-1)
        tokens = torch.stack([torch.cat([x, 0 * y], -1), torch.cat([0 * x, y], -1)], dim=2).flatten(1, 2).float()
        targets = torch.stack([y, torch.full_like(y, torch.nan)], dim=2).flatten(1, 2).float()
        return Batch(tokens, targets)

    def _inputs(self, count: int, examples: int, generator: Generator) -> Tensor:
        shape = (count, examples, self.dimension)
        if self.function == "fourier":
            return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def _outputs(self, x: Tensor, generator: Generator) -> Tensor:
        """Y [B, n] of a function drawn for each row."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        if self.function == "gaussian_process":
            covariance = self.covariance(x) + JITTER * torch.eye(x.shape[1], dtype=x.dtype)
            clean = (torch.linalg.cholesky(covariance) @ normal(*x.shape[:2], 1))[..., 0]
        else:
            features = self.features(x)
            weights = normal(len(x), features.shape[-1])
            if self.function == "sparse":
                order = torch.rand(weights.shape, generator=generator).argsort(1)
                weights = torch.where(order < self.active, weights, 0)
            clean = (features * weights[:, None]).sum(-1)
        return clean + self.noise * normal(*clean.shape)

    def features(self, x: Tensor) -> Tensor:
        """What f is linear in, with weights N(0, 1): [B, n, features]. x itself, also for the Gaussian process."""
        if self.function != "fourier":
            return x
        order = torch.arange(1, self.active + 1, dtype=x.dtype)
        constant = torch.full_like(x, 0.5**0.5)
        return torch.cat([constant, (pi * order * x).cos(), (pi * order * x).sin()], dim=-1) / self.active

    def covariance(self, x: Tensor) -> Tensor:
        """The covariance of f at inputs x [B, n, dimension] before it is seen: [B, n, n]. Sparse weights count as dense."""
        if self.function == "gaussian_process":
            return (-torch.cdist(x, x).square() / (2 * self.scale**2)).exp()
        return _gram(self.features(x))

    def predictions(self, batch: Batch, *, penalty: float = 1.0) -> dict[str, Tensor]:
        """What known estimators say at each target of a batch from the examples before it: name -> [B, T], nan elsewhere.

        "ols": least squares in `features`, of the smallest norm where there are fewer examples than features. "ridge": with
        `penalty` |w|^2 added. "gradient_descent": one step from w = 0, w = rate / n sum_i y_i features_i with the rate that is
        best for isotropic features and weights, n / (n + d + 1 + noise^2), d the number of features (Ahn et al. 2023,
        arXiv:2306.00297). "bayes": the posterior mean, than which no prediction has a smaller mean squared error. Raises
        ValueError where "sparse" has more than 2000 sets of weights to average over.
        """
        x, y = batch.tokens[:, ::2, :-1].double(), batch.targets[:, ::2, 0].double()
        gram = _gram(self.features(x))
        found = {
            "ols": _each_prefix(gram, y, _least_squares),
            "ridge": _each_prefix(gram, y, lambda k, c, y: _posterior(k, c, y, penalty)),
            "gradient_descent": self._gradient_step(gram, y, self.features(x).shape[-1]),
            "bayes": self._bayes(x, y),
        }
        return {name: torch.stack([value, torch.full_like(value, torch.nan)], dim=2).flatten(1) for name, value in found.items()}

    def _gradient_step(self, gram: Tensor, y: Tensor, size: int) -> Tensor:
        def predict(known: Tensor, cross: Tensor, y: Tensor) -> Tensor:
            return (cross * y).sum(-1) / (known.shape[-1] + size + 1 + self.noise**2)

        return _each_prefix(gram, y, predict)

    def _bayes(self, x: Tensor, y: Tensor) -> Tensor:
        variance = self.noise**2 + JITTER
        if self.function != "sparse":
            return _each_prefix(self.covariance(x), y, lambda k, c, y: _posterior(k, c, y, variance))
        if comb(self.dimension, self.active) > MOST_SUPPORTS:
            raise ValueError(f"{self.active} of {self.dimension} weights can be chosen in more than {MOST_SUPPORTS} ways")
        supports = [list(chosen) for chosen in combinations(range(self.dimension), self.active)]
        grams = torch.stack([_gram(x[..., chosen]) for chosen in supports], dim=1)

        def predict(known: Tensor, cross: Tensor, y: Tensor) -> Tensor:
            y = y[:, None].expand(known.shape[:-1])
            weight = _log_evidence(known, y, variance).softmax(1)
            return (weight * _posterior(known, cross, y, variance)).sum(1)

        return _each_prefix(grams, y, predict)


def _gram(features: Tensor) -> Tensor:
    return features @ features.mT


def _each_prefix(gram: Tensor, y: Tensor, predict: Predict) -> Tensor:
    """predict(K of the examples so far, their row with the next, their y) for each next example: [B, n]; 0 for the first."""
    found = [torch.zeros_like(y[:, 0])]
    found += [predict(gram[..., :n, :n], gram[..., n, :n], y[:, :n]) for n in range(1, y.shape[1])]
    return torch.stack(found, dim=1)


def _least_squares(known: Tensor, cross: Tensor, y: Tensor) -> Tensor:
    return (cross * (torch.linalg.pinv(known, rtol=1e-10, hermitian=True) @ y[..., None])[..., 0]).sum(-1)


def _posterior(known: Tensor, cross: Tensor, y: Tensor, variance: float) -> Tensor:
    """c (K + variance)^{-1} y."""
    noisy = known + variance * torch.eye(known.shape[-1], dtype=known.dtype)
    return (cross * torch.linalg.solve(noisy, y[..., None])[..., 0]).sum(-1)


def _log_evidence(known: Tensor, y: Tensor, variance: float) -> Tensor:
    """log N(y; 0, K + variance), but for a constant."""
    noisy = known + variance * torch.eye(known.shape[-1], dtype=known.dtype)
    fit = (y * torch.linalg.solve(noisy, y[..., None])[..., 0]).sum(-1)
    return -0.5 * (fit + torch.linalg.slogdet(noisy).logabsdet)
