"""Gaussian naive Bayes: classes as normal clouds whose features are independent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, nan, pi
from typing import ClassVar

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from .classifier import Classifier
from .estimator import K, Probe, ScoredProbe
from .penalised import PathEstimator, coded
from .standardisation import Standardisation


@dataclass(frozen=True)
class NormalProbe(ScoredProbe):
    """A normal distribution with independent features for each class.

    means, variances: [C, D], of standardised features. log_shares: of the classes, [C]. labels: the classes.
    """

    standard: Standardisation
    means: Tensor
    variances: Tensor
    log_shares: Tensor
    labels: Tensor
    penalty: float = nan
    validation: float = nan

    __repr__ = with_shapes

    def scores(self, features: Tensor) -> Tensor:
        """Compute the log-density of each class times its share, for features [n, D]: [n, C]."""
        x = self.standard(features).double()
        precise = 1 / self.variances
        distances = x.square() @ precise.T - 2 * x @ (self.means * precise).T + (self.means.square() * precise).sum(1)
        spread = self.variances.log().sum(1) + x.shape[1] * log(2 * pi)
        return self.log_shares - (distances + spread) / 2


@dataclass(frozen=True)
class NaiveBayes(Classifier, PathEstimator, kind="naive_bayes"):
    """Answers argmax_k of log pi_k + sum_d log N(x_d; mu_kd, s_kd^2), on standardised features.

    The penalty is added to each variance s_kd^2, in units of that of the feature over all classes; it is scikit-learn's
    `var_smoothing` of GaussianNB on standardised features. Its borders between classes are quadratic.
    """

    has_probabilities: ClassVar[bool] = True

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        standard = Standardisation.of(features)
        x = standard(features).double()
        return {name: self._path(standard, x, target) for name, target in targets.items()}

    def _path(self, standard: Standardisation, x: Tensor, target: Tensor) -> list[Probe]:
        classes, index, columns = coded(target)
        counts = columns.sum(0)
        means = (columns.T @ x) / counts[:, None]
        variances = (columns.T @ (x - means[index]).square()) / counts[:, None]
        shares = torch.full_like(counts, 1 / len(counts)).log() if self.balanced else (counts / counts.sum()).log()
        return [NormalProbe(standard, means, variances + penalty, shares, classes) for penalty in self.penalties]
