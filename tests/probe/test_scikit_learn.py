"""Our estimators go where scikit-learn's do: they pass its own checks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from statescope.estimators import (
    AttentionPooled,
    BilinearState,
    KSparse,
    LinearDiscriminant,
    LinearSVM,
    Logistic,
    NaiveBayes,
    NearestCentroid,
    Perceptron,
    PerceptronRegression,
    ProbeClassifier,
    ProbeRegressor,
    Ridge,
    RidgeRegression,
    SoftNearestNeighbour,
)

CLASSIFIERS = [
    Ridge(folds=2),
    Logistic(folds=2),
    LinearDiscriminant(folds=2),
    NearestCentroid(),
    NaiveBayes(folds=2),
    LinearSVM(folds=2, penalties=(1e-3, 1e-2)),
    KSparse(folds=2),
    Perceptron(folds=2, penalties=(0.01,), iterations=50),
    SoftNearestNeighbour(folds=2),
    # with one value channel and one position: the features of these checks are flat
    BilinearState(folds=2, penalties=(0.01,), iterations=50),
    AttentionPooled(folds=2, penalties=(0.01,), iterations=50),
]
REGRESSORS = [RidgeRegression(folds=2), PerceptronRegression(folds=2, penalties=(0.01,), iterations=50)]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda estimator: estimator.kind)
def test_classifiers_pass_scikit_learns_checks(estimator: object) -> None:
    check_estimator(ProbeClassifier(estimator))  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda estimator: estimator.kind)
def test_regressors_pass_scikit_learns_checks(estimator: object) -> None:
    check_estimator(ProbeRegressor(estimator))  # type: ignore[arg-type]


def test_one_is_named_and_takes_groups_and_any_classes() -> None:
    x, y = make_classification(203, 9, n_informative=5, random_state=0)
    names, groups = np.array(["no", "yes"])[y], np.array([f"file {n // 7}" for n in range(203)])
    found = ProbeClassifier("linear_discriminant").fit(x, names, groups)
    assert set(found.predict(x)) == {"no", "yes"} and found.predict_proba(x).shape == (203, 2)
    assert (found.classes_[found.predict_proba(x).argmax(1)] == found.predict(x)).all()
    with pytest.raises(ValueError, match="needs as many groups, got 3"):
        ProbeClassifier("ridge").fit(x, names, np.arange(203) % 3)
    with pytest.raises(AttributeError, match="predict_proba"):
        ProbeClassifier("ridge").fit(x, names).predict_proba(x)
    pipeline = make_pipeline(StandardScaler(), ProbeClassifier("ridge"))
    assert cross_val_score(pipeline, x, names, groups=groups, cv=GroupKFold(5)).mean() > 0.7
