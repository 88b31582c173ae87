"""Functions of real inputs that are drawn anew for each sequence, and what is known of each family before it is seen."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import combinations
from math import comb, pi

import torch
from torch import Generator, Tensor

MOST_SUPPORTS = 2000  # of sparse weights, over which Bayes' prediction averages
AT_ONCE = 256  # of them whose Gram matrices are held
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
        return sequential_posterior(self.covariance(x), y, variance)[0]


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
        supports = torch.tensor(list(combinations(range(self.dimension), self.active)))
        found = [sequential_posterior(gram(x[..., some].movedim(2, 1)), y[:, None], variance) for some in supports.split(AT_ONCE)]
        means, evidence = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))  # [B, supports, n]
        return (evidence.softmax(1) * means).sum(1)


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


def sequential_posterior(gram: Tensor, y: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """The posterior mean of each f(x_i) given the y before it, [..., n], and the logarithm of the evidence of those, [..., n].

    gram: K [..., n, n], the covariance of f. y: f with noise of a variance, [..., n]. With a variance that is a penalty the mean
    is that of ridge regression.

    The first i rows of the Cholesky factor L of K + variance I factor the covariance of the first i examples. So with z = L^-1 y
    the means of all are sum_{j < i} L_ij z_j, and y_i given those before has the variance L_ii^2. The evidence lacks a constant.
    """
    factor = torch.linalg.cholesky(gram + variance * torch.eye(gram.shape[-1], dtype=gram.dtype))
    z = torch.linalg.solve_triangular(factor, y[..., None].expand(*gram.shape[:-1], 1), upper=False)
    means = (factor.tril(-1) @ z)[..., 0]
    own = -0.5 * z[..., 0].square() - factor.diagonal(dim1=-2, dim2=-1).log()
    return means, own.cumsum(-1) - own


def sequential_least_squares(gram: Tensor, y: Tensor) -> Tensor:
    """The least-squares fit of the smallest norm to the y before it, at each example: [B, n], 0 at the first.

    gram: of the features, [B, n, n]. Every number of examples has a rank of its own, and so a pseudo-inverse.
    """
    found = [torch.zeros_like(y[:, 0])]
    for n in range(1, y.shape[1]):
        fit = torch.linalg.pinv(gram[:, :n, :n], rtol=1e-10, hermitian=True) @ y[:, :n, None]
        found.append((gram[:, n, :n] * fit[..., 0]).sum(-1))
    return torch.stack(found, dim=1)
