"""Sums over samples that ridge regression is solved from, kept by fold, so that leaving folds out costs a subtraction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CHUNK = 4096  # rows that are converted at a time, which bounds memory


@dataclass(frozen=True)
class Sums:
    """Of n samples: their number, sum x [D], sum y [M], X^T X [D, D], X^T Y [D, M], in float64."""

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

    def solve(self, penalties: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """(W [P, D, M], b [P, M]) that minimise |X W + b - Y|^2 / n + penalty |W|^2 for each penalty."""
        mean_x, mean_y = self.x / self.count, self.y / self.count
        gram = self.gram - self.count * torch.outer(mean_x, mean_x)
        cross = self.cross - self.count * torch.outer(mean_x, mean_y)
        found = []
        for penalty in penalties:
            ridged = gram.clone()
            ridged.diagonal().add_(penalty * self.count)
            found.append(torch.cholesky_solve(cross, torch.linalg.cholesky(ridged)))
        weights = torch.stack(found)
        return weights, mean_y - mean_x @ weights


class Standardised:
    """Features [N, D] less their mean and over their scale, a chunk of rows at a time, in float64.

    A feature that is constant stays 0. Where there are more features than samples, or with `rotate`, they are turned into their
    principal axes, at most N: ridge and logistic regression do not depend on the axes, and do not leave the span of the samples.

    eigenvalues: variances along the principal axes, [axes]; only where features are turned.
    """

    def __init__(self, features: Tensor, *, rotate: bool = False) -> None:
        self.features, self.rotation = features, None
        chunks, nothing = features.split(CHUNK), torch.zeros(features.shape[1], dtype=torch.float64)
        self.mean = sum((chunk.double().sum(0) for chunk in chunks), nothing) / len(features)
        squares = sum(((chunk.double() - self.mean).square().sum(0) for chunk in chunks), nothing)
        scale = (squares / len(features)).sqrt()
        # What varies by no more than its numbers are rounded by is constant.
        noise = torch.finfo(features.dtype).eps * self.mean.abs() + 1e-12 * scale.max().clamp(min=1e-300)
        self.scale = torch.where(scale > noise, scale, torch.inf)
        if rotate or features.shape[1] > len(features):
            self._rotate()

    @property
    def size(self) -> int:
        """Features behind standardising and turning."""
        return self.features.shape[1] if self.rotation is None else self.rotation.shape[1]

    def _rotate(self) -> None:
        count, size = self.features.shape
        every = torch.arange(count)
        if size <= count:
            gram = torch.zeros(size, size, dtype=torch.float64)
            for _, part in self.rows(every):
                gram.addmm_(part.T, part)
            values, rotation = torch.linalg.eigh(gram)
        else:
            whole = torch.cat([part for _, part in self.rows(every)])
            values, vectors = torch.linalg.eigh(whole @ whole.T)
            held = values > 1e-12 * values[-1]
            values, rotation = values[held], whole.T @ (vectors[:, held] / values[held].sqrt())
        self.eigenvalues, self.rotation = values.clamp(min=0) / count, rotation

    def rows(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(index, features [n, size]) of the rows of an index, in chunks."""
        for part in index.split(CHUNK):
            standard = (self.features[part].double() - self.mean) / self.scale
            yield part, standard if self.rotation is None else standard @ self.rotation

    def unscaled(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [size, M] and intercepts [M] on these features, as weights [M, D] on the activations themselves."""
        raw = (weights if self.rotation is None else self.rotation @ weights) / self.scale[:, None]
        return raw.T, intercepts - self.mean @ raw


class FoldedSums:
    """The sums of each fold of standardised features against targets [N, M]. folds: masks [N], which part the samples."""

    def __init__(self, features: Standardised, targets: Tensor, folds: list[Tensor]) -> None:
        self.features, self.targets = features, targets.double()
        self.folds = [fold.nonzero()[:, 0] for fold in folds]
        self.parts = [self._sums(rows) for rows in self.folds]

    def _sums(self, index: Tensor) -> Sums:
        size, many = self.features.size, self.targets.shape[1]
        x, y = torch.zeros(size, dtype=torch.float64), torch.zeros(many, dtype=torch.float64)
        gram, cross = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, many, dtype=torch.float64)
        for rows, part in self.features.rows(index):
            own = self.targets[rows]
            x += part.sum(0)
            y += own.sum(0)
            gram.addmm_(part.T, part)
            cross.addmm_(part.T, own)
        return Sums(len(index), x, y, gram, cross)

    @cached_property
    def total(self) -> Sums:
        return sum(self.parts[1:], self.parts[0])

    def scores(self, fold: int, weights: Tensor, intercepts: Tensor) -> Tensor:
        """[..., n, M] of a fold's samples for weights [..., D, M]."""
        return torch.cat([part @ weights + intercepts[..., None, :] for _, part in self.features.rows(self.folds[fold])], dim=-2)
