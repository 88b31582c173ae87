"""Ridge classification with one Gram matrix for all targets and penalties."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor


class RidgePath:
    """Ridge solutions for every penalty, W = (X^T X + p N I)^{-1} X^T (Y - mean), from one eigendecomposition.

    X is standardised by its own mean and scale. The decomposition is of the smaller of X^T X and X X^T, in float64.
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        """Features [N, D]; targets [N, C], such as one-hot labels of several tasks side by side."""
        x = features.to(torch.float64)
        self.mean, scale = x.mean(0), x.std(0, correction=0)
        self.scale = torch.where(scale > 1e-12 * scale.max().clamp(min=1e-300), scale, 1.0)
        x = (x - self.mean) / self.scale
        self.intercept = targets.to(torch.float64).mean(0)
        y = targets.to(torch.float64) - self.intercept
        self.count = len(x)
        self.primal = x.shape[1] <= len(x)
        values, vectors = torch.linalg.eigh(x.T @ x if self.primal else x @ x.T)
        self.values = values.clamp(min=0)
        self.vectors = vectors
        self.projected = vectors.T @ (x.T @ y if self.primal else y)
        self.x = None if self.primal else x

    def weights(self, penalty: float) -> Tensor:
        """W [D, C] for a penalty relative to the number of samples."""
        solved = self.vectors @ (self.projected / (self.values + penalty * self.count)[:, None])
        return solved if self.x is None else self.x.T @ solved

    def predict(self, features: Tensor, penalty: float) -> Tensor:
        """Scores [n, C]."""
        x = (features.to(torch.float64) - self.mean) / self.scale
        return x @ self.weights(penalty) + self.intercept

    def linear(self, penalty: float) -> tuple[Tensor, Tensor]:
        """The same scores as weights [D, C] on the features as they are, and intercepts [C]."""
        weights = self.weights(penalty) / self.scale[:, None]
        return weights, self.intercept - self.mean @ weights


class RidgeProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A ridge classifier as a scikit-learn estimator: one-hot targets, the class with the largest score."""

    def __init__(self, penalty: float = 1e-2) -> None:
        self.penalty = penalty

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 (scikit-learn's name)
        """X [N, D], y [N]."""
        self.classes_, index = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a probe needs at least two classes, got only {self.classes_[0]!r}")
        targets = torch.nn.functional.one_hot(torch.from_numpy(index), len(self.classes_))
        self.path_ = RidgePath(torch.as_tensor(np.asarray(X)), targets)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Scores [n, classes]."""
        return self.path_.predict(torch.as_tensor(np.asarray(X)), self.penalty).numpy()

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        chosen: NDArray[Any] = self.classes_[self.decision_function(X).argmax(1)]
        return chosen
