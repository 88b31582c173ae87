"""P200: more is better, the eigenframework with random features."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ....probe.runs.run import Run
from ...kernel_regression.random_features import random_features_point
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_most

MODES, RIDGE, NOISE, DRAWS = 500, 0.05, 0.1, 16
SIZES = ((60, 120), (120, 60), (120, 120), (60, 240))

APART = "largest relative difference of the mean test error from the prediction"
RISE = "largest rise of the predicted error at the best ridge, with samples or with features"
AT_BEST = Axes("error at the best ridge", "samples or features", "test error", x_log=True)


class MoreIsBetter(Claim, kind="p200-more-is-better"):
    """Random features of a power-law spectrum."""

    paper, scope = "P200", Scope.IDENTITY
    statement = (
        "The eigenframework predicts the test error of ridge regression on random features, and at the best ridge that error "
        "falls with samples and with features."
    )
    measurements = (at_most(APART, 0.08), at_most(RISE, 1e-9, "squared error"))
    panels = (AT_BEST,)
    note = "That overfitting is obligatory at the best ridge is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        index = torch.arange(1, MODES + 1, dtype=torch.float64)
        values, target = index**-1.5, index**-1.0
        worst = 0.0
        for samples, features in SIZES:
            errors = []
            for _ in range(DRAWS):
                x = torch.randn(samples, MODES, generator=generator, dtype=torch.float64)
                y = x @ target + NOISE**0.5 * torch.randn(samples, generator=generator, dtype=torch.float64)
                weights = torch.randn(MODES, features, generator=generator, dtype=torch.float64) * values.sqrt()[:, None]
                mapped = x @ weights / features
                dual = torch.linalg.solve(mapped @ mapped.T * features + RIDGE * torch.eye(samples).double(), y)
                errors.append(float((weights @ (mapped.T @ dual) - target).square().sum()) + NOISE)
            predicted = random_features_point(values, target, samples, features, RIDGE, NOISE).test_error
            worst = max(worst, abs(float(np.mean(errors)) / predicted - 1))
        sizes, ridges = (20, 40, 80, 160), np.logspace(-6, 2, 50)

        def best(samples: int, features: int) -> float:
            return min(random_features_point(values, target, samples, features, ridge, NOISE).test_error for ridge in ridges)

        curves = {"samples": [best(size, 60) for size in sizes], "features": [best(60, size) for size in sizes]}
        rise = max(later - earlier for errors in curves.values() for earlier, later in pairwise(errors))
        found = Findings({APART: worst, RISE: rise})
        for name, errors in curves.items():
            found.curves[AT_BEST.title, f"by {name}"] = (sizes, errors)
        return found
