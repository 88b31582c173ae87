"""P200: more is better, the eigenframework with random features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ....probe.runs.run import Run
from ...kernel_regression.random_features import RandomFeaturesPoint, random_features_point
from ...studies.findings import Axes, Findings
from ..agreement import Draw, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most

MODES, RIDGE, NOISE, DRAWS = 500, 0.05, 0.1, 16
SIZES = ((60, 120), (120, 60), (120, 120), (60, 240))
RIDGES: list[float] = np.logspace(-6, 2, 50).tolist()
LARGE_SIZES = (100, 400)  # samples and features of the question whether to fit noise-free and noisy targets
LOUD = 1.6  # the noise's variance, as large as the target's

APART = "largest relative difference of the mean test error from the prediction"
RISE = "largest rise of the predicted error at the best ridge, with samples or with features"
OBLIGATORY = "training over held-out error at the ridge of least held-out error, a power law without noise"
NOISY = "the same, where half of the targets' variance is noise"
PREDICTED = "largest difference of either from the prediction"
AT_BEST = Axes("error at the best ridge", "samples or features", "test error", x_log=True)


@dataclass(frozen=True)
class MoreIsBetter(Claim, kind="p200-more-is-better"):
    """Random features of a power-law spectrum."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the sizes were tried out."""

    paper, scope = "P200", Scope.IDENTITY
    statement = (
        "The eigenframework predicts the test error of ridge regression on random features, and at the best ridge that error "
        "falls with samples and with features. A power-law target without noise has to be fitted far below its test error there; "
        "one that is half noise must not be."
    )
    measurements = (
        at_most(APART, 0.08),
        at_most(RISE, 1e-9, "squared error"),
        at_most(OBLIGATORY, 0.1, "ratio"),
        at_least(NOISY, 0.3, "ratio"),
        at_most(PREDICTED, 0.1, "ratio"),
    )
    panels = (AT_BEST,)

    def experiment(self, seed: int, run: Run) -> Findings:
        task = PowerLaw(seeded(seed))
        worst = 0.0
        for samples, features in SIZES:
            errors = [task.errors(samples, features, NOISE, [RIDGE])[0][1] for _ in range(DRAWS)]
            predicted = task.predicted(samples, features, RIDGE, NOISE).test_error
            worst = max(worst, abs(float(np.mean(errors)) / predicted - 1))
        sizes = (20, 40, 80, 160)

        def best(samples: int, features: int) -> float:
            return min(task.predicted(samples, features, ridge, NOISE).test_error for ridge in RIDGES)

        curves = {"samples": [best(size, 60) for size in sizes], "features": [best(60, size) for size in sizes]}
        rise = max(later - earlier for errors in curves.values() for earlier, later in pairwise(errors))
        ratios = {noise: task.fitted_at_best(noise) for noise in (0.0, LOUD)}
        apart = max(abs(measured - predicted) for measured, predicted in ratios.values())
        numbers = {APART: worst, RISE: rise, OBLIGATORY: ratios[0.0][0], NOISY: ratios[LOUD][0], PREDICTED: apart}
        found = Findings(numbers)
        for name, errors in curves.items():
            found.curves[AT_BEST.title, f"by {name}"] = (sizes, errors)
        return found


class PowerLaw:
    """A target and random features of power-law spectra; samples, features and noise are drawn anew at each call."""

    def __init__(self, draw: Draw) -> None:
        index = torch.arange(1, MODES + 1, dtype=torch.float64)
        self.values, self.target, self.draw = index**-1.5, index**-1.0, draw

    def predicted(self, samples: int, features: int, ridge: float, noise: float) -> RandomFeaturesPoint:
        return random_features_point(self.values, self.target, samples, features, ridge, noise)

    def errors(self, samples: int, features: int, noise: float, ridges: Sequence[float]) -> list[tuple[float, float]]:
        """The training and the test error of one draw at each ridge, noise included."""
        x = self.draw(samples, MODES)
        y = x @ self.target + noise**0.5 * self.draw(samples)
        weights = self.draw(MODES, features) * self.values.sqrt()[:, None]
        mapped = x @ weights / features
        scales, vectors = torch.linalg.eigh(mapped @ mapped.T * features)
        found = []
        for ridge in ridges:
            dual = vectors @ ((vectors.T @ y) / (scales + ridge))
            away = (weights @ (mapped.T @ dual) - self.target).square().sum()
            found.append((float((ridge * dual).square().mean()), float(away) + noise))
        return found

    def fitted_at_best(self, noise: float) -> tuple[float, float]:
        """Training over test error at the ridge whose test error is least, of means over draws: measured and predicted."""
        means = np.mean([self.errors(*LARGE_SIZES, noise, RIDGES) for _ in range(DRAWS)], axis=0)
        points = [self.predicted(*LARGE_SIZES, ridge, noise) for ridge in RIDGES]
        train, test = means[means[:, 1].argmin()]
        best = min(points, key=lambda point: point.test_error)
        return float(train / test), best.train_error / best.test_error
