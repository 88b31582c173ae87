"""Iterative nullspace projection: erase what a linear probe reads, fit another to what is left, and so on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..configuration import Count
from ..estimators.estimator import Estimator
from ..estimators.logistic import Logistic
from ..subspaces.sides import Side
from .eraser import Eraser, EraserFitter, classified


@dataclass(frozen=True)
class Inlp(EraserFitter, kind="inlp"):
    """Iterative nullspace projection (Ravfogel et al. 2020, arXiv:2004.07667): x - U U^T (x - mean).

    Each round fits linear probes to the activations without U, and adds to U what they read along. It ends where a probe does no
    better than the most frequent class on the samples that it was fitted to: on others it then does worse than chance, for what
    was taken out is what went with the label here. A probe reads along Sigma^{-1} mu where
    classes differ by mu, so that what tells them apart is left until many dimensions are gone: LEACE and the mean projection need
    as many as there are classes, less one.
    """

    estimator: Estimator = field(default_factory=lambda: Logistic(penalties=(1e-3,)))
    """These probes are fitted, which must be linear."""
    rounds: Count = 16
    """There are at most this many rounds."""

    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        x, classes = classified(features, labels, name)
        mean = x.mean(0)
        centred, basis = x - mean, x.new_zeros(x.shape[1], 0)
        metric = self.estimator.metric
        always = metric.baseline(classes)
        majority = metric.score(torch.full_like(classes, int(always)), classes, always)
        for _ in range(self.rounds):
            left = centred - centred @ basis @ basis.T
            probe = self.estimator.fit_linear(left, classes)
            read = _new_directions(probe.weights.double(), basis)
            score = metric.score(probe.predict(left), classes, always)
            if score <= majority or not read.shape[1]:
                break
            basis = torch.cat([basis, read], dim=1)
        if not basis.shape[1]:
            raise ValueError(f"{name}: no linear probe does better than the most frequent class; there is nothing to erase")
        return Eraser(basis, basis.T, mean, hook, name, side)


def _new_directions(weights: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal basis [D, r] of the differences of weights [C, D] between classes, orthogonal to `basis`."""
    apart = (weights - weights.mean(0)).T
    apart = apart / apart.norm().clamp(min=1e-300)
    for _ in range(2):  # once leaves rounding
        apart = apart - basis @ (basis.T @ apart)
    left, values, _ = torch.linalg.svd(apart, full_matrices=False)
    return left[:, values > 1e-8]
