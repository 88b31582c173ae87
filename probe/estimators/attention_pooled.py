"""A probe of whole sequences that learns where to look (Touvron et al. 2021, arXiv:2112.13692)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...kernels.shown import with_shapes
from ..configuration import Count, NotEmpty, Positive
from ..errors import CannotFitError
from .classifier import Classifier
from .descent import descend
from .estimator import K, Probe, ScoredProbe
from .penalised import PathEstimator, coded
from .standardisation import Standardisation


@dataclass(frozen=True)
class PooledProbe(ScoredProbe):
    """W sum_t a_t x_t + b with a = softmax over positions of q^T x_t, of standardised activations x_t.

    query: q [D]. weights: W [C, D]. intercepts: [C]. positions: how many a sequence has; one that is exactly 0 is none.
    """

    standard: Standardisation
    query: Tensor
    weights: Tensor
    intercepts: Tensor
    labels: Tensor
    positions: int
    penalty: float = nan
    validation: float = nan

    __repr__ = with_shapes

    def attention(self, features: Tensor) -> Tensor:
        """How much each position of sequences [n, positions * D] is looked at, [n, positions]; 0 where there is none."""
        x, there = _sequences(features, self.positions, self.standard)
        return _attention(x, there, self.query)

    def scores(self, features: Tensor) -> Tensor:
        """Compute the logit of each class for features [n, ...]: [n, C]."""
        x, there = _sequences(features, self.positions, self.standard)
        return _logits(x, there, self.query, self.weights, self.intercepts)


@dataclass(frozen=True)
class AttentionPooled(Classifier, PathEstimator, kind="attention_pooled"):
    """Tells sequences apart by W sum_t a_t x_t + b with a = softmax_t(q^T x_t): one query says where to look, for all classes.

    Its samples are sequences, as `Capture.pooled` makes them of a capture. The mean cross-entropy, with penalty / 2 times all
    squared weights, is not convex in q and W; the descent starts where all positions count alike.
    """

    has_probabilities: ClassVar[bool] = True

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (1e-3, 1e-2)
    """Grouped cross-validation on the training samples chooses among these; each is relative to the number of samples."""
    positions: Count = 1
    """A sequence has this many positions."""
    iterations: Count = 200
    """The quasi-Newton method stops after at most this many iterations."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        if features.shape[1] % self.positions:
            raise CannotFitError(
                f"{features.shape[1]} features are not those of {self.positions} positions; give `positions` as the capture has "
                "them, of capture.pooled()"
            )
        flat = features.reshape(len(features) * self.positions, -1)
        standard = Standardisation.of(flat[flat.ne(0).any(1)])
        x, there = _sequences(features, self.positions, standard)
        return {name: [self._fit(standard, x, there, target, p) for p in self.penalties] for name, target in targets.items()}

    def _fit(self, standard: Standardisation, x: Tensor, there: Tensor, target: Tensor, penalty: float) -> Probe:
        classes, index, _ = coded(target)
        weighing = self.sample_weights(index, len(classes)).to(x)

        def loss(query: Tensor, weights: Tensor, intercepts: Tensor) -> Tensor:
            each = functional.cross_entropy(_logits(x, there, query, weights, intercepts), index, reduction="none")
            return (each * weighing).mean() + penalty / 2 * (weights.square().sum() + query.square().sum())

        start = [x.new_zeros(x.shape[2]), x.new_zeros(len(classes), x.shape[2]), x.new_zeros(len(classes))]
        query, weights, intercepts = descend(start, loss, self.iterations, 1e-6)
        return PooledProbe(standard, query, weights, intercepts, classes, self.positions)


def _sequences(features: Tensor, positions: int, standard: Standardisation) -> tuple[Tensor, Tensor]:
    """Standardised activations [n, positions, D], and where there is one, [n, positions]."""
    x = features.unflatten(1, (positions, -1))
    return standard(x), x.ne(0).any(2)


def _attention(x: Tensor, there: Tensor, query: Tensor) -> Tensor:
    """The weights of positions, [n, positions]; all 0 of a sequence without any, known by the intercepts alone."""
    hidden = ~there & there.any(1, keepdim=True)
    return (x @ query.to(x)).masked_fill(hidden, -torch.inf).softmax(1) * there


def _logits(x: Tensor, there: Tensor, query: Tensor, weights: Tensor, intercepts: Tensor) -> Tensor:
    pooled = torch.einsum("nt,ntd->nd", _attention(x, there, query), x)
    return pooled @ weights.T.to(x) + intercepts.to(x)
