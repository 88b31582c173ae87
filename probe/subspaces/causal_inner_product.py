"""The causal inner product: what the unembedding says of lengths and angles (Park et al. 2024, arXiv:2311.03658)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from .direction import Direction


@dataclass(frozen=True, eq=False)
class CausalInnerProduct:
    """<a, b> = a^T C^{-1} b of two rows of the unembedding, with C the covariance of all rows.

    Concepts that can be changed apart from each other are to be orthogonal under it. Vectors of the residual stream live in the
    dual space, where it is x^T C y. The map g -> C^{-1} g (Riesz) turns what a concept changes in the unembedding, along which a
    probe reads it, into what has to be added to the residual stream to change that concept alone.

    covariance: C [D, D], in float64.
    """

    covariance: Tensor

    __repr__ = with_shapes

    @classmethod
    def of(cls, unembedding: Tensor) -> Self:
        """Measure it on an unembedding [D, vocabulary], such as `model.W_U`.

        Raises ValueError where its rows do not span the D dimensions, as with fewer tokens: the inner product is then infinite.
        """
        rows = unembedding.detach().double().T
        centred = rows - rows.mean(0)
        covariance = centred.T @ centred / len(rows)
        values = torch.linalg.eigvalsh(covariance)
        if not values[0] > 1e-10 * values[-1]:
            raise ValueError(
                f"the {len(rows)} rows of the unembedding do not vary along all {rows.shape[1]} dimensions; the causal inner "
                "product needs more tokens than dimensions, which depend on each other in no direction"
            )
        return cls(covariance)

    @property
    def metric(self) -> Tensor:
        """C^{-1} [D, D], of directions of the unembedding."""
        return torch.linalg.inv(self.covariance)

    @property
    def dual(self) -> Tensor:
        """C [D, D], of directions of the residual stream."""
        return self.covariance

    def concept(self, unembedding: Tensor, pairs: Sequence[tuple[int, int]], *, hook: str, name: str) -> Direction:
        """The direction of a concept in the unembedding: the mean difference of pairs of tokens (without, with) it.

        It is of length 1 under the causal inner product; `scale` is the length of the mean difference under it.
        """
        mean = _differences(unembedding, pairs, name).mean(0)
        length = float((mean @ self.metric @ mean).sqrt())
        if not length > 0:
            raise ValueError(f"{name}: the pairs of tokens do not differ")
        about = {"method": "unembedding differences", "pairs": len(pairs)}
        return Direction(mean / length, hook, name, scale=length, about=about, metric=self.metric)

    def steering(self, concept: Direction, *, hook: str | None = None) -> Direction:
        """The direction of the residual stream that goes with a concept of the unembedding: C^{-1} times it.

        hook: the activation that it is to be added to, where that is another than the concept's. Its length is 1 under `dual`.
        """
        vector = torch.linalg.solve(self.covariance, concept.vector.double())
        length = (vector @ self.covariance @ vector).sqrt()
        about = dict(concept.about) | {"method": f"{concept.about.get('method', '')}, mapped to the residual stream"}
        return Direction(vector / length, hook or concept.hook, concept.name, scale=concept.scale, about=about, metric=self.dual)

    def left_out(self, unembedding: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """The inner product of each pair's difference with the direction of the other pairs, [pairs]: what a true concept keeps
        well above 0, and random pairs do not. Raises ValueError for fewer than two pairs.
        """
        if len(pairs) < 2:
            raise ValueError("leaving a pair out needs at least two")
        each = _differences(unembedding, pairs, "a pair")
        others = (each.sum(0) - each) / (len(each) - 1)
        measured = others @ self.metric
        return (each * measured).sum(1) / (others * measured).sum(1).sqrt()


def _differences(unembedding: Tensor, pairs: Sequence[tuple[int, int]], name: str) -> Tensor:
    """Of pairs of tokens (without, with), the differences of their rows, [pairs, D]."""
    if not len(pairs):
        raise ValueError(f"{name}: there is no pair of tokens")
    rows, index = unembedding.detach().double().T, torch.tensor(pairs)
    if not bool(((index >= 0) & (index < len(rows))).all()):
        raise IndexError(f"{name}: tokens are 0 to {len(rows) - 1}")
    return rows[index[:, 1]] - rows[index[:, 0]]
