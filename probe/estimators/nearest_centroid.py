"""The class whose mean is nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..statistics.metrics import Accuracy, Metric
from .estimator import Estimator, K, LinearProbe, Probe
from .penalised import coded
from .standardisation import Standardisation


@dataclass(frozen=True)
class NearestCentroid(Estimator, kind="nearest_centroid"):
    """Answers argmin_k |x - mu_k|, which is linear in x. Of two classes it reads along the difference of their means.

    There is nothing to choose, and every class counts alike however many samples it has.
    """

    metric: ClassVar[Metric] = Accuracy()

    scaled: bool = True
    """Distances are in units of each feature's standard deviation if true, else in the activation's own."""

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        standard = Standardisation.of(features)
        if not self.scaled:
            standard = Standardisation(standard.mean, standard.scale.new_ones(len(standard.scale)))
        centred = standard(features).double()
        return {name: self._fit(standard, centred, target) for name, target in targets.items()}

    def _fit(self, standard: Standardisation, centred: Tensor, target: Tensor) -> Probe:
        classes, _, columns = coded(target)
        means = (columns.T @ centred) / columns.sum(0)[:, None]
        weights, intercepts = standard.on_activations(means, -means.square().sum(1) / 2)
        return LinearProbe(weights, intercepts, classes)
