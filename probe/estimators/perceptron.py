"""A network with one hidden layer: what a probe finds that need not be linear, as a control of those that are."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, Any, ClassVar

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import Tensor

from ...kernels.shown import with_shapes
from ..configuration import Count, NotEmpty, Positive
from ..statistics.metrics import Metric, RSquared
from .classifier import Classifier
from .estimator import K, Probe, ScoredProbe
from .penalised import PathEstimator, coded
from .standardisation import Standardisation


@dataclass(frozen=True)
class PerceptronProbe(ScoredProbe):
    """A network with one hidden layer, V relu(W x + a) + b of standardised features x.

    hidden: W [H, D] and a [H]. output: V [C, H] and b [C], a logit of each class, or the number. labels: the classes, or None.
    """

    standard: Standardisation
    hidden: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    labels: Tensor | None
    penalty: float = nan
    validation: float = nan

    __repr__ = with_shapes

    def scores(self, features: Tensor) -> Tensor:
        """Compute the network's output for features [n, D]: [n, C]."""
        x = self.standard(features).to(self.hidden[0])
        within = (x @ self.hidden[0].T + self.hidden[1]).relu()
        return within @ self.output[0].T + self.output[1]


@dataclass(frozen=True)
class _Perceptron(PathEstimator):
    """What both have in common. The loss has penalty / 2 times all squared weights; scikit-learn fits it by L-BFGS."""

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (1e-3, 1e-2, 1e-1)
    """Grouped cross-validation on the training samples chooses among these; each is relative to the number of samples."""
    units: Count = 32
    """The hidden layer has this many units."""
    iterations: Count = 100
    """The quasi-Newton method stops after at most this many iterations, which also keeps a network from learning by heart."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        standard = Standardisation.of(features)
        x = standard(features)
        return {name: [self._fit(standard, x, target, p) for p in self.penalties] for name, target in targets.items()}

    @abstractmethod
    def _fit(self, standard: Standardisation, x: Tensor, target: Tensor, penalty: float) -> Probe:
        """Fit one network to standardised features."""

    def _trained(
        self, kind: type, x: Tensor, target: Tensor, penalty: float, weights: Tensor | None = None
    ) -> tuple[Any, list[tuple[Tensor, Tensor]]]:
        """The network as scikit-learn has it, and its layers as weights [out, in] and offsets [out]."""
        network: Any = kind(
            hidden_layer_sizes=(self.units,),
            solver="lbfgs",
            alpha=penalty * len(x),
            max_iter=self.iterations,
            tol=1e-7,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # how long it goes on is a setting
            network.fit(x.numpy(), target.numpy(), None if weights is None else weights.numpy())
        pairs = zip(network.coefs_, network.intercepts_, strict=True)
        return network, [(torch.from_numpy(weights.T.copy()), torch.from_numpy(offsets)) for weights, offsets in pairs]


@dataclass(frozen=True)
class Perceptron(Classifier, _Perceptron, kind="perceptron"):
    """A network with one hidden layer that tells classes apart, fitted to the cross-entropy.

    Where it reads a label much better than a linear probe does, the label is there and not along directions.
    """

    has_probabilities: ClassVar[bool] = True

    def _fit(self, standard: Standardisation, x: Tensor, target: Tensor, penalty: float) -> Probe:
        found, index, _ = coded(target)
        weighted = self.sample_weights(index, len(found)) if self.balanced else None
        network, [hidden, (weights, offsets)] = self._trained(MLPClassifier, x, target, penalty, weighted)
        if len(weights) == 1:  # of two classes, the logit of the second against the first
            weights, offsets = torch.cat([0 * weights, weights]), torch.cat([0 * offsets, offsets])
        return PerceptronProbe(standard, hidden, (weights, offsets), torch.from_numpy(network.classes_))


@dataclass(frozen=True)
class PerceptronRegression(_Perceptron, kind="perceptron_regression"):
    """A network with one hidden layer that gives numbers, fitted to the squared error of standardised targets."""

    metric: ClassVar[Metric] = RSquared()

    def _fit(self, standard: Standardisation, x: Tensor, target: Tensor, penalty: float) -> Probe:
        mean, scale = target.double().mean(), target.double().std(correction=0)
        _, [hidden, (weights, offsets)] = self._trained(MLPRegressor, x, ((target - mean) / scale).to(x), penalty)
        return PerceptronProbe(standard, hidden, (weights * scale, offsets * scale + mean), None)
