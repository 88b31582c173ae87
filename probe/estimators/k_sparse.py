"""Sparse probes: how well a label is read from a few features alone (Gurnee et al. 2023, arXiv:2305.01610)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..configuration import Count, Positive
from .classifier import Classifier
from .estimator import K, LinearProbe, Probe
from .logistic import logistic_path
from .penalised import PathEstimator, coded
from .standardisation import Standardisation


@dataclass(frozen=True)
class KSparse(Classifier, PathEstimator, kind="k_sparse"):
    """Logistic regression on the k features whose class means lie furthest apart, sum_c pi_c mu_cd^2 of standardised features.

    All other weights are 0. Features are chosen among the samples that a probe is fitted to, in each fold anew.
    """

    has_probabilities: ClassVar[bool] = True

    features: Count = 4
    """A probe reads this many features, or all where there are fewer."""
    tolerance: Positive = 1e-5
    """A probe counts as solved when no entry of the gradient of the mean loss is larger than this."""
    iterations: Count = 300
    """The quasi-Newton method stops after at most this many iterations."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        standard = Standardisation.of(features)(features).double()
        return {name: self._path(features, standard, target) for name, target in targets.items()}

    def _path(self, features: Tensor, standard: Tensor, target: Tensor) -> list[Probe]:
        _, index, columns = coded(target)
        weights = self.sample_weights(index, columns.shape[1])
        apart = ((columns.T @ (standard * weights[:, None])).square() / (columns.T @ weights)[:, None]).sum(0)
        chosen = apart.argsort(descending=True, stable=True)[: self.features].sort().values
        found: list[Probe] = []
        for probe in logistic_path(features[:, chosen], target, weights, self.penalties, self.tolerance, self.iterations):
            spread = probe.weights.new_zeros(len(probe.weights), features.shape[1])
            spread[:, chosen] = probe.weights
            found.append(LinearProbe(spread, probe.intercepts, probe.classes, has_probabilities=True))
        return found
