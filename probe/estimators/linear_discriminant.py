"""Linear discriminant analysis: classes as normal clouds of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..configuration import BadSettingError
from .classifier import Classifier
from .estimator import K, LinearProbe, Probe
from .gram import Centred
from .penalised import PathEstimator, coded


@dataclass(frozen=True)
class LinearDiscriminant(Classifier, PathEstimator, kind="linear_discriminant"):
    """Answers argmax_k of mu_k^T S^{-1} x - mu_k^T S^{-1} mu_k / 2 + log pi_k, on standardised features.

    mu_k and pi_k are the mean and the share of class k (1 / C where balanced), and S = (1 - p) S_w + p tr(S_w) / D I is the
    covariance within classes, shrunk by the penalty p (Fisher 1936; Ledoit and Wolf 2004), which is at most 1: scikit-learn's
    LinearDiscriminantAnalysis with that `shrinkage`. With features along their principal axes S_w is a diagonal less one rank a
    class, so that a penalty costs a system of as many equations as there are classes.
    """

    has_probabilities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if max(self.penalties) > 1:
            raise BadSettingError(f"penalties of {self.kind} are shares of shrinkage, at most 1; got {max(self.penalties):g}")

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        turning = Centred(features, torch.float64, rotate=True)
        turned = torch.cat([part for _, part in turning.rows(torch.arange(len(features)))])
        return {name: self._path(turning, turned, target) for name, target in targets.items()}

    def _path(self, turning: Centred, turned: Tensor, target: Tensor) -> list[Probe]:
        classes, _, columns = coded(target)
        shares = columns.mean(0)
        means = (columns.T @ turned) / columns.sum(0)[:, None]
        between = means * shares.sqrt()[:, None]  # S_w = diag(variances) - between^T between
        within = turning.variances.sum() - between.square().sum()
        least = 1e-12 * turning.variances.sum().clamp(min=1e-300)  # where all samples of a class are one
        unit = torch.maximum(within, least) / turning.features.shape[1]
        found: list[Probe] = []
        for penalty in self.penalties:
            diagonal = (1 - penalty) * turning.variances + penalty * unit
            low_rank = (1 - penalty) ** 0.5 * between
            weights = _solve(diagonal, low_rank, means)
            offsets = (0 if self.balanced else shares.log()) - (weights * means).sum(1) / 2
            raw, intercepts = turning.on_activations(weights.T, offsets)
            found.append(LinearProbe(raw, intercepts, classes, has_probabilities=True))
        return found


def _solve(diagonal: Tensor, low_rank: Tensor, rows: Tensor) -> Tensor:
    """Solve (diag(d) - L^T L) w = m for each of rows m [C, D]: [C, D] (Woodbury). low_rank: L, [C, D]."""
    scaled, over = rows / diagonal, low_rank / diagonal
    small = torch.eye(len(low_rank), dtype=low_rank.dtype) - over @ low_rank.T
    return scaled + (scaled @ low_rank.T) @ torch.linalg.solve(small, over)
