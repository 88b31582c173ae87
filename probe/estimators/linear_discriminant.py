"""Linear discriminant analysis: classes as normal clouds of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

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

    mu_k, S_k and pi_k are the mean, the covariance and the share of class k (1 / C where balanced), and S = (1 - p) S_w +
    p tr(S_w) / D I is S_w = sum_k pi_k S_k, shrunk by the penalty p (Fisher 1936; Ledoit and Wolf 2004), which is at most 1:
    scikit-learn's LinearDiscriminantAnalysis with that `shrinkage`, and with equal `priors` where balanced. With features along
    their principal axes and the classes' own shares S_w is a diagonal less one rank a class, so that a penalty costs a system of
    as many equations as there are classes; where balanced, S_w is decomposed once.
    """

    has_probabilities: ClassVar[bool] = True
    streams: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if max(self.penalties) > 1:
            raise BadSettingError(f"penalties of {self.kind} are shares of shrinkage, at most 1; got {max(self.penalties):g}")

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        turning = Centred(features, torch.float64, rotate=True)
        return {name: self._path(turning, target) for name, target in targets.items()}

    def _path(self, turning: Centred, target: Tensor) -> list[Probe]:
        classes, index, columns = coded(target)
        shares, every = columns.mean(0), torch.arange(len(target))
        sums: Any = sum(columns[rows].T @ part for rows, part in turning.rows(every))
        means = sums / columns.sum(0)[:, None]
        if self.balanced:
            roots = (self.sample_weights(index, len(classes)) / len(target)).sqrt()
            left = ((part - means[index[rows]]) * roots[rows, None] for rows, part in turning.rows(every))
            scatter: Any = sum(own.T @ own for own in left)
            variances, axes = torch.linalg.eigh(scatter)  # S_w = axes diag(variances) axes^T
            variances, rows, between = variances.clamp(min=0), means @ axes, means.new_zeros(0, len(variances))
        else:
            between = means * shares.sqrt()[:, None]  # S_w = diag(variances) - between^T between
            variances, axes, rows = turning.variances, None, means
        within = variances.sum() - between.square().sum()
        least = 1e-12 * turning.variances.sum().clamp(min=1e-300)  # where all samples of a class are one
        unit = torch.maximum(within, least) / turning.features.shape[1]
        found: list[Probe] = []
        for penalty in self.penalties:
            floor = (penalty * unit).clamp(min=1e-12 * variances.max())  # what is left of the others is rounding below this
            solved = _solve((1 - penalty) * variances + floor, (1 - penalty) ** 0.5 * between, rows)
            weights = solved if axes is None else solved @ axes.T
            offsets = (0 if self.balanced else shares.log()) - (weights * means).sum(1) / 2
            raw, intercepts = turning.on_activations(weights.T, offsets)
            found.append(LinearProbe(raw, intercepts, classes, has_probabilities=True))
        return found


def _solve(diagonal: Tensor, low_rank: Tensor, rows: Tensor) -> Tensor:
    """Solve (diag(d) - L^T L) w = m for each of rows m [C, D]: [C, D] (Woodbury). low_rank: L, [C, D]."""
    scaled, over = rows / diagonal, low_rank / diagonal
    small = torch.eye(len(low_rank), dtype=low_rank.dtype) - over @ low_rank.T
    return scaled + (scaled @ low_rank.T) @ torch.linalg.solve(small, over)
