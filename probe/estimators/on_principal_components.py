"""Probes that read the leading principal components alone, so that a wide activation has no more inputs than a narrow one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from scipy.linalg import eigh
from torch import Tensor

from ...kernels.shown import with_shapes
from ..configuration import Count
from ..statistics.metrics import Metric
from .estimator import Estimator, K, LinearProbe, Probe
from .gram import square
from .logistic import Logistic
from .standardisation import Standardisation, of_width, real


@dataclass(frozen=True)
class OnPrincipalComponents(Estimator, kind="on_principal_components"):
    """Fits the probes of another estimator to the leading principal components of standardised activations.

    The components are those of the samples that a probe is fitted to, and their labels have no part in them. Where there are no
    more features than `components`, all are read as they are. A linear probe is given back as weights on the activations.
    """

    estimator: Estimator = field(default_factory=Logistic)
    """These probes are fitted to the components."""
    components: Count = 128
    """So many components are read, or all where there are fewer."""

    @property
    def metric(self) -> Metric:  # type: ignore[override]  # that of the probes
        return self.estimator.metric

    @property
    def has_probabilities(self) -> bool:  # type: ignore[override]
        return self.estimator.has_probabilities

    def inputs(self, features: int) -> int:
        return self.estimator.inputs(min(features, self.components))

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        if features.shape[1] <= self.components:
            return self.estimator.fit_many(features, targets, groups)
        mean, axes = leading_axes(features, self.components)
        probes = self.estimator.fit_many(_components(features, mean, axes), targets, groups)
        return {name: _on_activations(probe, mean, axes) for name, probe in probes.items()}


@dataclass(frozen=True)
class ComponentProbe(Probe):
    """A probe of components (x - mean) axes. mean: [D]; axes: [D, components]."""

    probe: Probe
    mean: Tensor
    axes: Tensor
    penalty: float
    validation: float

    __repr__ = with_shapes

    @property
    def classes(self) -> Tensor:
        return self.probe.classes

    def predict(self, features: Tensor) -> Tensor:
        return self.probe.predict(_components(features, self.mean, self.axes))

    def log_probabilities(self, features: Tensor) -> Tensor | None:
        return self.probe.log_probabilities(_components(features, self.mean, self.axes))


def leading_axes(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean [D] of features [N, D], and the axes [D, count] along which they, standardised, vary most: (x - mean) axes.

    There are fewer where they vary along fewer, and one of length 0 where they do not vary.
    """
    standard = Standardisation.of(features)
    z = standard(features)
    samples, size = z.shape
    if not bool(z.any()):
        return standard.mean, standard.mean.new_zeros(size, 1)
    if size <= samples:
        axes = _largest(square(z), count)[1]
    else:
        values, along = _largest(square(z.T), count)
        axes = z.T.double() @ (along / values.sqrt())
    return standard.mean, axes / standard.scale[:, None]


def _largest(gram: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of a Gram matrix that are not 0, up to `count`, and their eigenvectors as columns."""
    size = len(gram)
    values, vectors = map(torch.from_numpy, eigh(gram.numpy(), subset_by_index=[max(0, size - count), size - 1]))
    held = values > 1e-12 * values[-1]
    return values[held], vectors[:, held]


def _components(features: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """(x - mean) axes, in float64 where the features are and else in float32."""
    of_width(features, len(mean))
    precise = torch.promote_types(features.dtype, torch.float32)
    return (real(features).to(precise) - mean.to(precise)) @ axes.to(precise)


def _on_activations(probe: Probe, mean: Tensor, axes: Tensor) -> Probe:
    if not isinstance(probe, LinearProbe):
        return ComponentProbe(probe, mean, axes, probe.penalty, probe.validation)
    weights = probe.weights.double() @ axes.T
    return replace(probe, weights=weights, intercepts=probe.intercepts.double() - weights @ mean)
