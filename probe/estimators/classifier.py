"""What estimators share that tell classes apart: whether a class counts by its samples, or as every other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..statistics.metrics import Accuracy, BalancedAccuracy, Metric
from .estimator import Estimator


@dataclass(frozen=True)
class Classifier(Estimator):
    """Base of the estimators that tell classes apart and can weigh them."""

    balanced: bool = False
    """If true, every class counts alike, however few samples it has: in the fit, in the choice of a penalty and in the score."""

    @property
    def metric(self) -> Metric:  # type: ignore[override]  # what it is depends on a setting
        return BalancedAccuracy() if self.balanced else Accuracy()

    def sample_weights(self, index: Tensor, classes: int) -> Tensor:
        """The weight [N] of each sample, of mean 1, with class index [N] below `classes`: N / (C n_class) where balanced."""
        if not self.balanced:
            return torch.ones(len(index), dtype=torch.float64)
        counts = index.bincount(minlength=classes).double()
        return (len(index) / ((counts > 0).sum() * counts.clamp(min=1)))[index]
