"""The linear support vector machine, by liblinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from ..configuration import Count, Positive
from .classifier import Classifier
from .estimator import K, LinearProbe, Probe
from .gram import Centred
from .penalised import PathEstimator


@dataclass(frozen=True)
class LinearSVM(Classifier, PathEstimator, kind="linear_svm"):
    """The minimum of mean_n max(0, 1 - y_n (w x_n + b))^2 + penalty / 2 (|w|^2 + b^2), one class against the others, on
    standardised features; y_n is 1 or -1.

    It is scikit-learn's LinearSVC with C = 1 / (penalty N), which fits it.
    """

    tolerance: Positive = 1e-4
    """The fit stops at this share of the gradient that it began with."""
    iterations: Count = 1000
    """The Newton method stops after at most this many iterations."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        turning = Centred(features, torch.float64, rotate=True)
        turned = torch.cat([part for _, part in turning.rows(torch.arange(len(features)))]).numpy()
        return {name: [self._fit(turning, turned, target, p) for p in self.penalties] for name, target in targets.items()}

    def _fit(self, turning: Centred, turned: Any, target: Tensor, penalty: float) -> Probe:
        strength, weights = 1 / (penalty * len(target)), "balanced" if self.balanced else None
        machine = LinearSVC(C=strength, dual=False, tol=self.tolerance, max_iter=self.iterations, class_weight=weights)
        machine.fit(turned, target.numpy())
        found, offsets = torch.from_numpy(machine.coef_).double(), torch.as_tensor(machine.intercept_).double()
        if len(found) == 1:  # of two classes, the score of the second
            found, offsets = torch.cat([-found, found]), torch.cat([-offsets, offsets])
        raw, intercepts = turning.on_activations(found.T, offsets)
        return LinearProbe(raw, intercepts, torch.from_numpy(machine.classes_))
