"""In-context regression: a function of real inputs from examples of it (Garg et al. 2022, arXiv:2208.01066)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from .base import Batch, Split, Task, draw_split
from .random_functions import FAMILIES, JITTER, RandomFunction, gram, sequential_least_squares, sequential_posterior

Function = Literal["linear", "sparse", "gaussian_process", "fourier"]


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
        self.random.check()
        if min(self.dimension, self.active) < 1 or self.noise < 0 or self.scale <= 0:
            raise ValueError("dimension and active must be at least 1, noise at least 0, and scale above 0")

    @property
    def random(self) -> RandomFunction:
        """The family that f is drawn from."""
        return FAMILIES[self.function](self.dimension, self.active, self.scale)

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
            x = self.random.inputs(count, length // 2, generator)
            clean = self.random.outputs(x, generator)
            y = clean + self.noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
            return torch.cat([x, y[..., None]], dim=-1)

        x, y = draw_split(draw, size, split).split([self.dimension, 1], dim=-1)
        tokens = torch.stack([torch.cat([x, 0 * y], -1), torch.cat([0 * x, y], -1)], dim=2).flatten(1, 2).float()
        targets = torch.stack([y, torch.full_like(y, torch.nan)], dim=2).flatten(1, 2).float()
        return Batch(tokens, targets)

    def predictions(self, batch: Batch, *, penalty: float = 1.0) -> dict[str, Tensor]:
        """What known estimators say at each target of a batch from the examples before it: name -> [B, T], nan elsewhere.

        "ols": least squares in `features`, of the smallest norm where there are fewer examples than features. "ridge": with
        `penalty` |w|^2 added. "gradient_descent": one step from w = 0, w = rate / n sum_i y_i features_i with the rate that is
        best for isotropic features and weights, n / (n + d + 1 + noise^2), d the number of features (Ahn et al. 2023,
        arXiv:2306.00297). "bayes": the posterior mean, than which no prediction has a smaller mean squared error. Raises
        ValueError where "sparse" has more than 2000 sets of weights to average over.
        """
        x, y = batch.tokens[:, ::2, :-1].double(), batch.targets[:, ::2, 0].double()
        features = self.random.features(x)
        products, size = gram(features), features.shape[-1]
        rates = 1 / (torch.arange(y.shape[1], dtype=y.dtype) + size + 1 + self.noise**2)
        found = {
            "ols": sequential_least_squares(products, y),
            "ridge": sequential_posterior(products, y, penalty)[0],
            "gradient_descent": rates * (products.tril(-1) @ y[..., None])[..., 0],
            "bayes": self.random.posterior_mean(x, y, self.noise**2 + JITTER),
        }
        return {name: torch.stack([value, torch.full_like(value, torch.nan)], dim=2).flatten(1) for name, value in found.items()}
