"""Sums over samples that ridge regression is solved from, kept by fold, so that leaving folds out costs a subtraction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from .standardisation import finite_mean, real, scale_of

CHUNK = 4096  # rows that are converted at a time, which bounds memory


@dataclass(frozen=True)
class Sums:
    """The sums that n samples give: n, sum x [D], sum y [M], X^T X [D, D], X^T Y [D, M], in float64.

    Of X^T X, which is symmetric, only the diagonal and what is above it is kept; what is below says nothing.
    """

    count: int
    x: Tensor
    y: Tensor
    gram: Tensor
    cross: Tensor

    def __sub__(self, other: Sums) -> Sums:
        return Sums(
            self.count - other.count,
            self.x - other.x,
            self.y - other.y,
            self.gram - other.gram,
            self.cross - other.cross,
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.gram + other.gram,
            self.cross + other.cross,
        )

    def over(self, scale: Tensor) -> Sums:
        """The same of X / scale."""
        return Sums(self.count, self.x / scale, self.y, self.gram / torch.outer(scale, scale), self.cross / scale[:, None])

    def solve(self, penalties: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """Find (W [P, D, M], b [P, M]) that minimise |X W + b - Y|^2 / n + penalty |W|^2 for each penalty."""
        mean_x, mean_y = self.x / self.count, self.y / self.count
        gram = self.gram - self.count * torch.outer(mean_x, mean_x)
        cross = self.cross - self.count * torch.outer(mean_x, mean_y)
        weights = torch.stack([_positive_solve(gram, penalty * self.count, cross) for penalty in penalties])
        return weights, mean_y - mean_x @ weights


class Centred:
    """Features [N, D] less their mean, a chunk of rows at a time.

    Where there are more features than samples, or with `rotate`, they are also standardised and turned into their principal axes,
    at most N: ridge and logistic regression do not depend on the axes, and do not leave the span of the samples.

    Raises ValueError for features that are not finite, TypeError for complex ones.

    dtype: of the chunks. mean: [D], float64. transform: to the axes, [D, size], or None. variances: along the axes, [size].
    """

    def __init__(self, features: Tensor, dtype: torch.dtype, *, rotate: bool = False) -> None:
        self.features, self.dtype = features if features.is_floating_point() else real(features).double(), dtype
        self.mean = finite_mean(_sum(_column_sums(chunk) for chunk in features.split(CHUNK)) / len(features))
        self.transform: Tensor | None = None
        self.variances = torch.empty(0, dtype=torch.float64)
        if rotate or features.shape[1] > len(features):
            self._rotate()

    @property
    def size(self) -> int:
        """How many features the chunks have."""
        return self.features.shape[1] if self.transform is None else self.transform.shape[1]

    def _rotate(self) -> None:
        count, size = self.features.shape
        every = torch.arange(count)
        if size <= count:
            gram = _sum(square(part) for _, part in self.rows(every))
            scale = self.scale_of(gram.diagonal() / count)
            values, axes = torch.linalg.eigh(gram / torch.outer(scale, scale))
        else:
            whole = torch.cat([part.double() for _, part in self.rows(every)])
            scale = self.scale_of(whole.square().mean(0))
            whole /= scale
            values, vectors = torch.linalg.eigh(whole @ whole.T)
            held = values >= 1e-12 * values[-1]  # all of them, and axes of length 0, where nothing varies
            values, axes = values[held], whole.T @ (vectors[:, held] / values[held].clamp(min=1e-300).sqrt())
        self.variances, self.transform = values.clamp(min=0) / count, axes / scale[:, None]

    def scale_of(self, variances: Tensor) -> Tensor:
        """The standard deviations [D] of features with these variances; infinite where they are constant, up to rounding."""
        return scale_of(variances, self.mean, self.features.dtype)

    def rows(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Give (index, features [n, size]) of the rows of an index, in chunks."""
        for part in index.split(CHUNK):
            taken = self.features.index_select(0, part) if isinstance(self.features, Tensor) else self.features[part]
            centred = taken.to(self.dtype).sub_(self.mean.to(self.dtype))
            yield part, centred if self.transform is None else centred @ self.transform.to(self.dtype)

    def on_activations(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [size, M] and intercepts [M] on these features, as weights [M, D] on the activations themselves."""
        raw = weights if self.transform is None else self.transform @ weights
        return raw.T, intercepts - self.mean @ raw


class StreamedAxes:
    """Features along the axes of a `Centred`, [size, N], which are read a part at a time whenever they are multiplied.

    What `logistic` holds of the samples is then what it holds without: the logits of each.
    """

    def __init__(self, features: Centred, dtype: torch.dtype) -> None:
        self.features, self.dtype = features, dtype
        self.shape = (features.size, len(features.features))

    def to(self, dtype: torch.dtype) -> StreamedAxes:
        """The same in another precision."""
        return StreamedAxes(self.features, dtype)

    def times(self, weights: Tensor, index: Tensor) -> Tensor:
        """Weights [R, size] times the features of samples [n]: [R, n]."""
        parts = (part for _, part in self.features.rows(index))
        return torch.cat([weights @ part.to(weights).T for part in parts], dim=1)

    def back(self, residuals: Tensor) -> Tensor:
        """Residuals [R, N] times the features' transpose: [R, size]."""
        rows = self.features.rows(torch.arange(self.shape[1]))
        return _sum(residuals[:, index] @ part.to(residuals) for index, part in rows)


Axes = Tensor | StreamedAxes


def along_axes(features: Centred, dtype: torch.dtype) -> Axes:
    """The features along their axes, [size, N]: in memory where they are, streamed where they are stored."""
    every = torch.arange(len(features.features))
    if isinstance(features.features, Tensor):
        return torch.cat([part for _, part in features.rows(every)]).to(dtype).T.contiguous()
    return StreamedAxes(features, dtype)


def times(weights: Tensor, axes: Axes, index: Tensor | None = None) -> Tensor:
    """Weights [R, size] times features along axes [size, N]: [R, N], or of some samples [R, n]."""
    if isinstance(axes, Tensor):
        return weights @ (axes if index is None else axes[:, index])
    return axes.times(weights, torch.arange(axes.shape[1]) if index is None else index)


def back(residuals: Tensor, axes: Axes) -> Tensor:
    """Residuals [R, N] times the transpose of features along axes [size, N]: [R, size]."""
    return residuals @ axes.T if isinstance(axes, Tensor) else axes.back(residuals)


class FoldedSums:
    """The sums of each fold of standardised features against targets [N, M]. folds: masks [N], which part the samples.

    parts: the sums of each fold; total: of all.
    """

    def __init__(self, features: Centred, targets: Tensor, folds: Sequence[Tensor]) -> None:
        self.features, self.targets = features, targets
        self.folds = [fold.nonzero()[:, 0] for fold in folds]
        parts = [_sum(self._sums(rows, part) for rows, part in features.rows(index)) for index in self.folds]
        total = _sum(iter(parts))
        if features.transform is None:
            self.scale = features.scale_of(total.gram.diagonal() / total.count)
        else:
            self.scale = torch.ones(features.size, dtype=torch.float64)
        self.parts, self.total = [part.over(self.scale) for part in parts], total.over(self.scale)

    def _sums(self, rows: Tensor, part: Tensor) -> Sums:
        own = self.targets.index_select(0, rows)
        across = (own.to(part.dtype).T @ part).double()  # of centred features nothing is lost: their sum is near 0
        return Sums(len(rows), part.sum(0).double(), own.double().sum(0), _upper_square(part), across.T)

    def scores(self, fold: int, weights: Tensor, intercepts: Tensor) -> Iterator[Tensor]:
        """Compute the scores [P, M, n] of a fold's samples, in chunks, for weights [P, D, M] and intercepts [P, M]."""
        below_each_other = (weights / self.scale[:, None]).mT.flatten(0, 1).to(self.features.dtype)
        for _, part in self.features.rows(self.folds[fold]):
            found = below_each_other @ part.T
            yield found.view(*intercepts.shape, -1).add_(intercepts.to(found)[..., None])

    def on_activations(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [D, M] and intercepts [M] of a solution, as weights [M, D] on the activations themselves."""
        return self.features.on_activations(weights / self.scale[:, None], intercepts)


def square(x: Tensor) -> Tensor:
    """X^T X of x [n, D], in float64; multiplied in the dtype of x, half of it, since it is symmetric."""
    upper = _upper_square(x)
    return upper + upper.triu(1).T


def _upper_square(x: Tensor) -> Tensor:
    """The diagonal of `square` and what is above it, zero below."""
    multiply = blas.dsyrk if x.dtype == torch.float64 else blas.ssyrk
    return torch.from_numpy(multiply(1.0, x.contiguous().numpy().T, lower=1).T).double()


def _column_sums(chunk: Tensor) -> Tensor:
    """The sums over rows [D], in float64; those of a chunk in float32, if they are finite, will do to centre by."""
    own = chunk.sum(0)
    return own.double() if own.dtype == torch.float32 and bool(own.isfinite().all()) else chunk.double().sum(0)


def _positive_solve(matrix: Tensor, ridge: float, right: Tensor) -> Tensor:
    """Solve (A + ridge I) x = b for a symmetric A [D, D] and b [D, M], by LAPACK's Cholesky factor.

    Of A the diagonal and what is above it is read. It takes a third of the time of torch's, which clears the other triangle.
    Raises ArithmeticError where A is not positive.
    """
    ridged = matrix.numpy().T.copy(order="F")
    ridged.flat[:: len(ridged) + 1] += ridge
    _, found, flaw = lapack.dposv(ridged, right.numpy(), lower=1, overwrite_a=1)
    if flaw:
        raise ArithmeticError(f"the Gram matrix of these features is not positive with a penalty of {ridge:g}; take a larger one")
    return torch.from_numpy(found).contiguous()


def _sum(parts: Iterator[Any]) -> Any:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
