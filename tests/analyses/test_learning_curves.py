"""Random features by the eigenframework against simulations, and the study of learning curves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from statescope.analyses.kernel_regression.learning_curve import learning_curve_point
from statescope.analyses.kernel_regression.learning_curves import Cube, LearningCurves
from statescope.analyses.kernel_regression.random_features import random_features_point
from statescope.analyses.studies.learning_curves import LearningCurvesStudy
from statescope.probe.configuration import BadSettingError

MODES, NOISE, RIDGE = 400, 0.1, 0.05
INDEX = torch.arange(1, MODES + 1).double()
VALUES, TARGET = INDEX**-1.5, INDEX**-1.0


def simulated(samples: int, features: int, draws: int = 16) -> tuple[float, float]:
    """The mean test and train error of ridge regression on random features of Gaussian eigenfunctions."""
    generator = torch.Generator().manual_seed(0)
    test, train = [], []
    for _ in range(draws):
        x = torch.randn(samples, MODES, generator=generator, dtype=torch.float64)
        y = x @ TARGET + NOISE**0.5 * torch.randn(samples, generator=generator, dtype=torch.float64)
        weights = torch.randn(MODES, features, generator=generator, dtype=torch.float64) * VALUES.sqrt()[:, None]
        mapped = x @ weights / features**0.5
        dual = torch.linalg.solve(mapped @ mapped.T + RIDGE * torch.eye(samples, dtype=torch.float64), y)
        test.append(float((weights / features**0.5 @ (mapped.T @ dual) - TARGET).square().sum()) + NOISE)
        train.append(float((mapped @ mapped.T @ dual - y).square().mean()))
    return float(np.mean(test)), float(np.mean(train))


@pytest.mark.parametrize(("samples", "features"), [(60, 120), (120, 60), (90, 90), (40, 15)])
def test_random_features_are_as_good_as_predicted(samples: int, features: int) -> None:
    found = random_features_point(VALUES, TARGET, samples, features, RIDGE, NOISE)
    test, train = simulated(samples, features)
    assert found.test_error == pytest.approx(test, rel=0.06)
    assert found.train_error == pytest.approx(train, rel=0.15)
    of_the_kernel = learning_curve_point(VALUES, TARGET, samples, RIDGE, NOISE)
    assert of_the_kernel.test_error != pytest.approx(test, rel=0.06)


def test_the_equations_hold_and_many_features_are_the_kernel() -> None:
    cases = ((50, 20, 0.1), (20, 50, 1e-6), (100, 399, 1e-9), (30, 5000, 0.1), (10, 3, 1e-12), (1000, 2, 1e-12), (2, 1000, 1e-12))
    for samples, features, ridge in cases:
        found = random_features_point(VALUES, TARGET, samples, features, ridge)
        z = float(found.learnability.sum())
        assert z + ridge / found.kappa == pytest.approx(samples, rel=1e-8)
        assert z + features * found.kappa / found.gamma == pytest.approx(features, rel=1e-8)
        assert found.train_error == pytest.approx((1 - z / samples) ** 2 * found.test_error, rel=1e-8, abs=1e-20)
    many = random_features_point(VALUES, TARGET, 50, 10**8, RIDGE, NOISE)
    kernel = learning_curve_point(VALUES, TARGET, 50, RIDGE, NOISE)
    assert many.test_error == pytest.approx(kernel.test_error, rel=1e-5)
    assert many.kappa == pytest.approx(kernel.resolution, rel=1e-5)
    with pytest.raises(ValueError, match="must be positive"):
        random_features_point(VALUES, TARGET, 50, 20, 0.0)


def test_more_is_better_at_the_best_ridge() -> None:
    """Samples and features: the error at the optimal ridge never rises in either."""

    def best(samples: int, features: int) -> float:
        ridges = np.logspace(-6, 2, 60)
        return min(random_features_point(VALUES, TARGET, samples, features, ridge, NOISE).test_error for ridge in ridges)

    sizes = (20, 40, 80, 160)
    over_samples, over_features = [best(n, 60) for n in sizes], [best(60, k) for k in sizes]
    for errors in (over_samples, over_features):
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(errors))
    without = [random_features_point(VALUES, TARGET, 60, k, 1e-9, NOISE).test_error for k in (30, 60, 240)]
    assert without[1] > 2 * max(without[0], without[2])  # with none it peaks where features are as many as samples


def test_a_kernel_that_parities_do_not_diagonalise_is_refused() -> None:
    weights = torch.randn(8, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="not the eigenfunctions"):
        Cube.of(3, lambda points: torch.cos(points @ weights.T[:3]) @ torch.cos(points @ weights.T[:3]).T)
    cube = Cube.of(3, lambda points: (points @ points.T).exp())
    assert float(cube.eigenvalues.sum()) == pytest.approx(float(cube.kernel[0, 0]))


def test_the_study_measures_what_it_predicts(tmp_path: Path) -> None:
    study = LearningCurvesStudy(
        dimension=6, orders=(1, 2), samples=(8, 16, 32), features=(16, 64), width=64, draws=40, networks=2, steps=60
    )
    found = study.run(tmp_path / "run").result("learning_curves")
    assert isinstance(found, LearningCurves)
    assert set(found.table["learner"]) == {"kernel regression", "random features", "network"}
    regression = found.select(learner="kernel regression")
    assert regression.worst < 0.15
    shifted = LearningCurves(regression.table.assign(predicted=np.roll(regression.table["predicted"], 1)))
    assert shifted.worst > 0.3
    assert "kernel regression: off the prediction" in found.summary()
    assert len(found.specification().panels) == 3
    with pytest.raises(BadSettingError, match="corners"):
        LearningCurvesStudy(dimension=4, samples=(16,)).check()
