"""P011: how far a linear probe is tilted from the line between the centroids."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ....probe.estimators.logistic import Logistic
from ....probe.runs.run import Run
from ....probe.subspaces.finders import MeanDifference, Reading
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, SAMPLES, PENALTIES = 16, 30_000, (1e-1, 1e-2, 1e-3, 1e-4)
APART, SMALL, THIN = 2.0, 0.05, 0.1  # of the classes; along the thin direction, and its standard deviation

STRONG, WEAK = "angle with the centroids at the largest penalty", "angle with the centroids at the least penalty"
RISE = "least rise of the angle from a penalty to the next"
NEARER = "distance to the border at the least penalty, over that at the largest"
COST = "largest difference of accuracy between penalties"
ROUND = "largest angle where all directions vary alike"
TILT = Axes("tilt of the probe", "penalty", "degrees from the centroids", x_log=True)


class Tilting(Claim, kind="p011-tilting"):
    """Two normal classes with a direction along which hardly anything varies and which hardly tells them apart."""

    paper, scope = "P011", Scope.CONSTRUCTION
    statement = (
        "The less a linear probe is regularised the further it tilts from the line between the centroids, into a direction of "
        "low variance; inputs come nearer to its border, and its accuracy stays the same."
    )
    measurements = (
        at_most(STRONG, 25.0, "degrees"),
        at_least(WEAK, 55.0, "degrees"),
        at_least(RISE, 0.0, "degrees"),
        at_most(NEARER, 0.6, "ratio"),
        at_most(COST, 0.015, "accuracy"),
        at_most(ROUND, 5.0, "degrees"),
    )
    panels = (TILT,)

    def experiment(self, seed: int, run: Run) -> Findings:
        thin = [_tilted(_classes(seed, THIN), penalty) for penalty in PENALTIES]
        angles, distances, accuracies = zip(*thin, strict=True)
        same = [_tilted(_classes(seed, 1.0), penalty)[0] for penalty in PENALTIES]
        found = Findings({STRONG: angles[0], WEAK: angles[-1], ROUND: max(same), COST: max(accuracies) - min(accuracies)})
        found.numbers |= {RISE: min(later - earlier for earlier, later in pairwise(angles)), NEARER: distances[-1] / distances[0]}
        found.curves[TILT.title, "a thin direction"] = (PENALTIES, angles)
        found.curves[TILT.title, "all directions alike"] = (PENALTIES, same)
        return found


def _classes(seed: int, thin: float) -> tuple[Tensor, Tensor]:
    """Samples [N, D] and which class they are of, with the directions turned so that no feature is one of them."""
    draw = seeded(seed)
    present = torch.arange(SAMPLES) % 2 == 1
    spread, means = torch.ones(SIZE, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)
    spread[1], means[0], means[1] = thin, APART, SMALL if thin < 1 else 0.0
    turn = torch.linalg.qr(draw(SIZE, SIZE)).Q
    return (draw(SAMPLES, SIZE) * spread + (present.double()[:, None] - 0.5) * means) @ turn, present


def _tilted(samples: tuple[Tensor, Tensor], penalty: float) -> tuple[float, float, float]:
    """The angle in degrees with the difference of means, the mean distance to the border, and the accuracy on the second half."""
    features, present = samples
    half = SAMPLES // 2
    estimator = Logistic(penalties=(penalty,), folds=2)
    found, means = (
        finder.fit(features[:half], present[:half], hook="features", name="class")
        for finder in (Reading(estimator), MeanDifference())
    )
    angle = float(found.angles(means)[0].rad2deg())
    probe = estimator.fit_linear(features[:half], present[:half].long())
    scores = probe.scores(features[half:])
    distance = (scores[:, 1] - scores[:, 0]).abs().mean() / probe.contrast.norm()
    return angle, float(distance), float((probe.predict(features[half:]) == present[half:]).double().mean())
