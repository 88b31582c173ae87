"""The labels of the nearest samples, each by how near it is: a probe that assumes no shape of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..configuration import NotEmpty, Positive
from .classifier import Classifier
from .estimator import K, Probe, ScoredProbe
from .penalised import PathEstimator, coded
from .standardisation import Standardisation

ENTRIES = 2**24  # distances that are held at a time, which bounds memory


@dataclass(frozen=True)
class NeighbourProbe(ScoredProbe):
    """All samples that it was fitted to.

    samples: standardised, [N, D]. columns: [N, C], the weight of each sample in the column of its class. width: of the kernel.
    """

    standard: Standardisation
    samples: Tensor
    columns: Tensor
    labels: Tensor
    width: float
    penalty: float = nan
    validation: float = nan

    __repr__ = with_shapes

    def scores(self, features: Tensor) -> Tensor:
        """Compute the log of each class's weight around features [n, D]: [n, C]."""
        x = self.standard(features).to(self.samples)
        parts = x.split(max(1, ENTRIES // len(self.samples)))
        return torch.cat([self._log_weights(part) for part in parts]) if len(x) else x.new_empty(0, len(self.labels))

    def _log_weights(self, x: Tensor) -> Tensor:
        near = -torch.cdist(x, self.samples).square() / self.width
        own = [(near[:, column > 0] + column[column > 0].log()).logsumexp(1) for column in self.columns.T]
        return torch.stack(own, 1)


@dataclass(frozen=True)
class SoftNearestNeighbour(Classifier, PathEstimator, kind="soft_nearest_neighbour"):
    """p(y | x) is the share of class y in samples weighed by exp(-|x - x_n|^2 / h), on standardised features (Goldberger et al.
    2004, without a learnt map).

    The penalty is h as a share of 2 D, the mean squared distance of two samples.
    """

    has_probabilities: ClassVar[bool] = True

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (0.01, 0.03, 0.1, 0.3)
    """Grouped cross-validation on the training samples chooses among these widths of the kernel."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        standard = Standardisation.of(features)
        samples = standard(features)
        widths = [2 * penalty * samples.shape[1] for penalty in self.penalties]
        return {name: self._path(standard, samples, target, widths) for name, target in targets.items()}

    def _path(self, standard: Standardisation, samples: Tensor, target: Tensor, widths: list[float]) -> list[Probe]:
        classes, index, columns = coded(target)
        columns = columns * self.sample_weights(index, len(classes))[:, None]
        return [NeighbourProbe(standard, samples, columns.to(samples), classes, width) for width in widths]
