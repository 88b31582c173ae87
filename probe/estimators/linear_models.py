"""Linear classifiers of one set of features for many targets."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from .ridge import RidgePath

K = TypeVar("K", bound=Hashable)


class LinearModels(ABC):
    """Classifiers for each of several targets [N], for any penalty (relative to the number of samples)."""

    @abstractmethod
    def __init__(self, features: Tensor, targets: Mapping[Any, Tensor]) -> None: ...

    @abstractmethod
    def predict(self, features: Tensor, penalty: float) -> dict[Any, Tensor]:
        """For each target, the class [n] of each of features [n, D]."""

    @abstractmethod
    def linear(self, target: Any, penalty: float) -> tuple[Tensor, Tensor]:
        """Weights [classes, D] and intercepts [classes] on the features as they are."""


class RidgeModels(LinearModels):
    """Ridge on one-hot classes; one eigendecomposition for all targets and penalties."""

    def __init__(self, features: Tensor, targets: Mapping[Any, Tensor]) -> None:
        self.classes = {target: values.unique() for target, values in targets.items()}
        one_hot = [values[:, None] == self.classes[target] for target, values in targets.items()]
        self.path = RidgePath(features, torch.cat(one_hot, dim=1))

    def predict(self, features: Tensor, penalty: float) -> dict[Any, Tensor]:
        return self._by_target(self.path.predict(features, penalty), lambda classes, scores: classes[scores.argmax(1)])

    def linear(self, target: Any, penalty: float) -> tuple[Tensor, Tensor]:
        weights, intercepts = self.path.linear(penalty)
        both = torch.cat([weights, intercepts[None]])
        own = self._by_target(both, lambda _, columns: columns)[target]
        return own[:-1].T, own[-1]

    def _by_target(self, columns: Tensor, read: Any) -> dict[Any, Tensor]:
        parts = columns.split([len(classes) for classes in self.classes.values()], dim=1)
        return {target: read(classes, part) for (target, classes), part in zip(self.classes.items(), parts, strict=True)}


class LogisticModels(LinearModels):
    """Multinomial logistic regression by scikit-learn, one fit a target and penalty: penalty / 2 * |W|^2 a sample."""

    def __init__(self, features: Tensor, targets: Mapping[Any, Tensor]) -> None:
        self.mean, scale = features.mean(0), features.std(0, correction=0)
        self.scale = torch.where(scale > 0, scale, 1.0)
        self.features = ((features - self.mean) / self.scale).numpy()
        self.targets = targets
        self.fitted: dict[tuple[Any, float], LogisticRegression] = {}

    def _fit(self, target: Any, penalty: float) -> LogisticRegression:
        if (target, penalty) not in self.fitted:
            model = LogisticRegression(C=1 / (penalty * len(self.features)), max_iter=300)
            with warnings.catch_warnings():
                # Weak penalties on separable data converge slowly; cross-validation prefers the others.
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.fitted[target, penalty] = model.fit(self.features, self.targets[target].numpy())
        return self.fitted[target, penalty]

    def predict(self, features: Tensor, penalty: float) -> dict[Any, Tensor]:
        x = ((features - self.mean) / self.scale).numpy()
        return {target: torch.from_numpy(self._fit(target, penalty).predict(x)) for target in self.targets}

    def linear(self, target: Any, penalty: float) -> tuple[Tensor, Tensor]:
        model = self._fit(target, penalty)
        weights, intercepts = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weights) == 1:
            weights, intercepts = torch.cat([-weights, weights]) / 2, torch.cat([-intercepts, intercepts]) / 2
        weights = weights / self.scale
        return weights, intercepts - weights @ self.mean.to(weights)
