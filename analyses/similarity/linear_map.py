"""The linear map that leads from one representation to another, and how far it is from a rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...kernels.shown import with_shapes
from .measure import centred


@dataclass(frozen=True, eq=False)
class LinearMap:
    """The map x -> x weight + offset between activations of the same samples, such as those of two models or two layers.

    weight: [p, q], in float64. offset: [q].
    """

    weight: Tensor
    offset: Tensor

    __repr__ = with_shapes

    @classmethod
    def least_squares(cls, first: Tensor, second: Tensor, *, penalty: float = 0.0) -> Self:
        """Fit W = (X^T X + penalty s I)^+ X^T Y of centred activations X [n, p] and Y [n, q], with s = tr(X^T X) / p.

        Without a penalty it takes the least W where X has fewer samples than dimensions. Raises ValueError for unequal numbers
        of samples, NaN, and activations that do not vary.
        """
        x, y = _paired(first, second)
        left, values, right = torch.linalg.svd(x, full_matrices=False)
        held = values > 1e-12 * values[0]
        ridge = penalty * float(values.square().sum()) / x.shape[1]
        inverse = values[held] / (values[held].square() + ridge)
        return cls._through_means((right[held].mT * inverse) @ (left[:, held].mT @ y), first, second)

    @classmethod
    def rotation(cls, first: Tensor, second: Tensor) -> Self:
        """Fit the W with W^T W = I that brings X nearest to Y (Schoenemann 1966): U V^T of X^T Y = U S V^T.

        Where p < q, W W^T = I instead. Raises ValueError as `least_squares` does.
        """
        x, y = _paired(first, second)
        left, _, right = torch.linalg.svd(x.mT @ y, full_matrices=False)
        return cls._through_means(left @ right, first, second)

    @property
    def orthogonality_gap(self) -> float:
        """How far it is from a rotation at any scale, from 0 to 1: min_c |W^T W - c I|_F / |W^T W|_F.

        A map that is one loses no angle (Vasilyev et al. 2023, arXiv:2305.14256, on what its deviation says of two spaces). Where
        p and q differ, it is that of W W^T or W^T W, whichever is smaller.
        """
        squares = torch.linalg.svdvals(self.weight).square()
        return float((squares - squares.mean()).norm() / squares.norm())

    def __call__(self, first: Tensor) -> Tensor:
        """Map activations [n, p]: [n, q] in float64."""
        return first.double() @ self.weight + self.offset

    def error(self, first: Tensor, second: Tensor) -> float:
        """The squared error of the mapped activations as a share of the variance of the true ones; 1 for their mean."""
        truth = second.double()
        return float((self(first) - truth).square().sum() / (truth - truth.mean(0)).square().sum())

    def retrieved(self, first: Tensor, second: Tensor) -> float:
        """The share of samples whose mapped activation has its own partner as the nearest of all, by the cosine."""
        return retrieved(self(first), second)

    @classmethod
    def _through_means(cls, weight: Tensor, first: Tensor, second: Tensor) -> Self:
        return cls(weight, second.double().mean(0) - first.double().mean(0) @ weight)


def retrieved(first: Tensor, second: Tensor) -> float:
    """The share of rows of `first` [n, q] whose nearest of `second` [n, q] is that row, by the cosine of both less their mean.

    Chance is 1 / n.
    """
    one, two = (normalize(x.double() - x.double().mean(0), dim=1) for x in (first, second))
    return float(((one @ two.mT).argmax(1) == torch.arange(len(one))).double().mean())


def _paired(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise ValueError(
            f"activations [n, p] and [n, q] of the same samples are needed, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return centred(first, "first"), centred(second, "second")
