"""Estimators as scikit-learn's own, for its pipelines, searches and curves."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..configuration import from_plain
from .estimator import Estimator, Probe


def _described(estimator: Estimator | str) -> Estimator:
    return from_plain(Estimator, estimator)  # type: ignore[type-abstract]


class _Adapter(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share. estimator: one of ours, or its kind."""

    probe_: Probe

    def __init__(self, estimator: Estimator | str) -> None:
        self.estimator = estimator

    def _fit(self, features: NDArray[Any], target: NDArray[Any], groups: ArrayLike | None) -> None:
        """Fit `probe_`. groups: the source of each sample; each is its own when None."""
        own = np.arange(len(features)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        found = _described(self.estimator)
        flaw = found.metric.flaw(torch.from_numpy(target))
        if flaw is not None:
            raise ValueError(f"{found.kind} cannot be fitted to these {len(target)} samples: one class or {flaw}")
        self.probe_ = found.fit_many(torch.from_numpy(features), {"y": torch.from_numpy(target)}, torch.from_numpy(own))["y"]

    def _seen(self, features: ArrayLike) -> torch.Tensor:
        check_is_fitted(self, "probe_")
        return torch.from_numpy(validate_data(self, features, reset=False, dtype=[np.float64, np.float32]))


class ProbeClassifier(ClassifierMixin, _Adapter):  # type: ignore[misc]
    """A classifier of scikit-learn's, around an estimator that tells classes apart.

    classes_: the classes. probe_: the probe that was fitted, as a sweep has it.
    """

    def __init__(self, estimator: Estimator | str = "logistic") -> None:
        super().__init__(estimator)

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803 (scikit-learn's name)
        """Fit to features [n, D] and classes [n]. groups: the source of each sample, which no fold splits; its own when None."""
        features, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        self._fit(features, index, groups)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The class of each of features [n, D], [n]."""
        features = self._seen(X)
        found: NDArray[Any] = self.classes_[self.probe_.predict(features).numpy()]
        return found

    @available_if(lambda self: _described(self.estimator).has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The probability of each class, [n, classes]; only estimators that give probabilities have this method."""
        features = self._seen(X)
        logs = self.probe_.log_probabilities(features)
        assert logs is not None
        return logs.double().exp().numpy()


class ProbeRegressor(RegressorMixin, _Adapter):  # type: ignore[misc]
    """A regressor of scikit-learn's, around an estimator that gives numbers. probe_: the probe that was fitted."""

    def __init__(self, estimator: Estimator | str = "ridge_regression") -> None:
        super().__init__(estimator)

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fit to features [n, D] and numbers [n]. groups: the source of each sample, which no fold splits; its own when None."""
        features, target = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=True)
        self._fit(features, np.asarray(target, dtype=np.float64), groups)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The number for each of features [n, D], [n]."""
        features = self._seen(X)
        return self.probe_.predict(features).double().numpy()
