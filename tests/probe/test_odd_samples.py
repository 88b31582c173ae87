"""Estimators on samples that leave them little: constant features, one sample a class, labels that are missing, another width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope.estimators import (
    CannotFitError,
    Estimator,
    KSparse,
    LinearDiscriminant,
    LinearProbe,
    LinearSVM,
    Logistic,
    NaiveBayes,
    NearestCentroid,
    OnPrincipalComponents,
    Perceptron,
    PerceptronRegression,
    Ridge,
    RidgeRegression,
    SoftNearestNeighbour,
    group_folds,
)
from statescope.probe.configuration import BadSettingError

LINEAR = [Ridge(), Logistic(), LinearDiscriminant(), LinearSVM(), NearestCentroid(), NearestCentroid(scaled=False), KSparse()]
LINEAR += [OnPrincipalComponents(Ridge(), components=2), OnPrincipalComponents(NearestCentroid(), components=2)]
EVERY = [*LINEAR, RidgeRegression(), NaiveBayes(), SoftNearestNeighbour(), Perceptron(), PerceptronRegression()]
EVERY += [OnPrincipalComponents(NaiveBayes(), components=2)]


def named(estimator: Estimator) -> str:
    inner = estimator.estimator.kind if isinstance(estimator, OnPrincipalComponents) else str(getattr(estimator, "scaled", ""))
    return f"{estimator.kind} {inner}".strip()


def drawn(samples: int = 24, features: int = 3) -> tuple[Tensor, Tensor]:
    """Two classes, of which the second lies further along the first feature and the last."""
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(samples) % 2
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64) + 40
    x[:, [0, -1]] += 8 * y[:, None]
    return x, y


def target_for(estimator: Estimator, y: Tensor) -> Tensor:
    return y if estimator.metric.of_classes else y.double()


@pytest.mark.parametrize("estimator", LINEAR, ids=named)
def test_a_contrast_points_to_the_last_of_two_classes(estimator: Estimator) -> None:
    x, y = drawn()
    for label, sense in ((y + 5, 1), (6 - y, -1)):
        probe = estimator.fit_linear(x, label)
        step = torch.zeros(3, dtype=torch.float64)
        step[-1] = 2.0
        assert sense * float(probe.contrast[-1]) > 0
        moved = probe.scores(x + step) - probe.scores(x)
        torch.testing.assert_close((moved[:, 1] - moved[:, 0]).double(), (probe.contrast.double() @ step).expand(24))
        assert (probe.predict(x) == label).double().mean() > 0.9
    number = RidgeRegression().fit_linear(x, -x[:, -1])
    assert float(number.contrast[-1]) < 0 and torch.equal(number.contrast, number.weights[0])


@pytest.mark.parametrize("features", [3, 50])
@pytest.mark.parametrize("estimator", EVERY, ids=named)
def test_of_features_that_do_not_vary_only_the_labels_are_left(estimator: Estimator, features: int) -> None:
    """At a value that no binary fraction is: rounding is no variation. The answer is one for all, and a finite one."""
    _, y = drawn(40)
    y[:4] = 1  # the more frequent class
    x = torch.full((40, features), 3.3, dtype=torch.float64)
    probe = estimator.fit(x, target_for(estimator, y))
    answers = probe.predict(torch.cat([x, x + 1]))
    assert bool(answers.double().isfinite().all()) and len(answers.unique()) == 1
    if isinstance(estimator, RidgeRegression) and not estimator.metric.of_classes:
        assert float(answers[0]) == pytest.approx(float(y.double().mean()))
    elif estimator.metric.of_classes and estimator.kind not in ("nearest_centroid", "on_principal_components"):
        assert int(answers[0]) == 1  # nearest centroids do not know how frequent a class is


@pytest.mark.parametrize("estimator", EVERY, ids=named)
def test_another_width_is_refused_and_one_feature_is_not_spread_over_all(estimator: Estimator) -> None:
    x, y = drawn()
    probe = estimator.fit(x, target_for(estimator, y))
    for other in (x[:, :1], x[:, :2], torch.cat([x, x], 1)):
        with pytest.raises(ValueError, match=r"this probe reads \[n, 3\]"):
            probe.predict(other)


@pytest.mark.parametrize("estimator", EVERY, ids=named)
def test_a_target_that_says_nothing_or_is_missing_is_refused(estimator: Estimator) -> None:
    x, y = drawn()
    target = target_for(estimator, y)
    with pytest.raises(ValueError, match=r"got \(24, 3\) and \(5,\)"):
        estimator.fit(x, target[:5])
    with pytest.raises(CannotFitError, match="one value only"):
        estimator.fit(x, target * 0)
    missing = torch.where(y > 0, torch.nan, x[:, 0]) if target.is_floating_point() else torch.where(y > 0, -100, torch.arange(24))
    with pytest.raises(ValueError, match="samples without a label"):
        estimator.fit(x, missing)


def test_one_fold_leaves_nothing_to_fit() -> None:
    for kind in (Ridge, Logistic, NaiveBayes):
        with pytest.raises(BadSettingError, match="folds must be at least 2, got 1"):
            kind(folds=1)
    for folds in (0, 1):
        with pytest.raises(CannotFitError, match="2 folds at least"):
            group_folds(torch.arange(6), folds, 0)


@pytest.mark.parametrize("penalty", [1e-6, 1e-3, 0.5, 1.0])
@pytest.mark.parametrize("features", [1, 3, 7])
def test_discriminants_of_classes_without_any_variation_tell_them_apart(penalty: float, features: int) -> None:
    """One value a class, so that the covariance within the classes is 0, whatever it is shrunk by."""
    centres = torch.randn(3, features, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 5 + 20
    for repeats in (1, 4):
        y = torch.arange(3 * repeats) % 3
        [probe] = LinearDiscriminant(penalties=(penalty,)).fit_paths(centres[y], {"y": y})["y"]
        assert isinstance(probe, LinearProbe) and torch.equal(probe.predict(centres[y]), y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1), (3, 5), (9, 1)], ids=str)
def test_ridge_of_few_samples_is_the_closed_form(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Numbers and classes, by numpy in float64 of the same rounded features; a mean above the spread where digits allow."""
    generator = np.random.default_rng(5)
    x = torch.from_numpy(generator.normal(size=shape) + (8 if dtype.itemsize > 2 else 0.5)).to(dtype)
    number, label = torch.from_numpy(generator.normal(size=shape[0])), torch.arange(shape[0]) % 2
    wide, penalty = x.double().numpy(), 0.2
    scale = wide.std(0)
    z = (wide - wide.mean(0)) / scale
    columns = np.stack([number.numpy(), (label == 1).double().numpy()], 1)
    weights = np.linalg.solve(z.T @ z + penalty * len(z) * np.eye(shape[1]), z.T @ (columns - columns.mean(0)))
    wanted = z @ weights + columns.mean(0)
    regression = RidgeRegression(penalties=(penalty,), folds=2).fit(x, number)
    probe = Ridge(penalties=(penalty,), folds=2).fit_linear(x, label)
    close = {"atol": 1e-9 if dtype == torch.float64 else 2e-5, "rtol": 0}
    np.testing.assert_allclose(regression.predict(x.double()), wanted[:, 0], **close)
    np.testing.assert_allclose(probe.scores(x.double())[:, 1], wanted[:, 1], **close)


def test_a_sparse_probe_chooses_by_how_much_of_the_variance_lies_between_the_classes() -> None:
    """By numpy: sum_c pi_c mu_cd^2 of standardised features; a rare class lies far along one, a frequent nearer along another."""
    generator = np.random.default_rng(0)
    y = torch.from_numpy(np.repeat([0, 1, 2], [60, 30, 6]))
    x = torch.from_numpy(generator.normal(size=(96, 4)))
    x[:, 1] += 4.0 * (y == 2)
    x[:, 3] += 1.3 * (y == 1)
    z = (x.numpy() - x.numpy().mean(0)) / x.numpy().std(0)
    between = sum(float((y == c).double().mean()) * z[(y == c).numpy()].mean(0) ** 2 for c in range(3))
    spread = sum(float((y == c).double().sum()) ** 2 * z[(y == c).numpy()].mean(0) ** 2 for c in range(3))
    assert between.argmax() == 1 != spread.argmax()  # by sums in the place of means the frequent class would decide
    [probe] = KSparse(features=1, penalties=(0.01,)).fit_paths(x, {"y": y})["y"]
    assert probe.weights.abs().sum(0).nonzero()[:, 0].tolist() == [1]


@pytest.mark.parametrize("estimator", EVERY, ids=named)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_has_no_answer(estimator: Estimator, value: float) -> None:
    x, y = drawn()
    probe = estimator.fit(x, target_for(estimator, y))
    x[7] = value
    with pytest.raises(ValueError, match="features must be finite; the scores of sample 7 are not|NaN|infinity"):
        probe.predict(x)


@pytest.mark.parametrize("estimator", EVERY, ids=named)
def test_features_too_large_to_be_squared_are_refused(estimator: Estimator) -> None:
    x, y = drawn()
    with pytest.raises(ValueError, match="squares of these features are not finite"):
        estimator.fit(x * 1e170, target_for(estimator, y))
