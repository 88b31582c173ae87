"""P144: linear maps between two spaces, and how far they are from rotations."""

from __future__ import annotations

from itertools import pairwise

import torch

from ....probe.runs.run import Run
from ...similarity.linear_map import LinearMap, retrieved
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, SAMPLES, NOISE, STRETCHES = 24, 400, 0.3, (0.0, 0.25, 0.5, 1.0, 2.0)

TURN = "rotation found against the planted one"
NO_GAP = "orthogonality gap of the least-squares map of a rotation and a scale"
RISE = "least rise of the gap from a stretch of the axes to the next"
LARGEST = "gap at the largest stretch"
MAPPED = "share of held-out samples that retrieve their partner, mapped by least squares"
ERROR = "held-out error at the largest stretch, over the variance, least squares"
ROTATED = "the same, of a rotation at the best scale"
UNMAPPED = "share that retrieve their partner as they are"
GAP = Axes("axes stretched by exp(s u), u from -1 to 1", "stretch s", "orthogonality gap")


class Maps(Claim, kind="p144-maps"):
    """A space and its image under a rotation, and under maps that stretch axes more and more, with noise."""

    paper, scope = "P144", Scope.CONSTRUCTION
    statement = (
        "Least squares and Procrustes find a planted rotation, whose deviation from orthogonality is 0; stretched axes raise "
        "the deviation, and then a general linear map leads samples to their partner where a rotation leaves a large error."
    )
    measurements = (
        at_most(TURN, 1e-10),
        at_most(NO_GAP, 1e-6, "gap"),
        at_least(RISE, 0.01, "gap"),
        at_least(LARGEST, 0.8, "gap"),
        at_least(MAPPED, 0.95),
        at_most(ERROR, 0.05, "share of variance"),
        at_least(ROTATED, 0.2, "share of variance"),
        at_most(UNMAPPED, 0.05),
    )
    panels = (GAP,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x, turn = draw(SAMPLES, SIZE), torch.linalg.qr(draw(SIZE, SIZE)).Q
        stretch = torch.linspace(-1, 1, SIZE, dtype=torch.float64)
        image = 3 * x @ turn + 1
        found = Findings({TURN: difference(LinearMap.rotation(x, image).weight, turn)})
        found.numbers[NO_GAP] = LinearMap.least_squares(x, image).orthogonality_gap
        images = [x @ ((amount * stretch).exp()[:, None] * turn) for amount in STRETCHES]
        gaps = [LinearMap.least_squares(x, own).orthogonality_gap for own in images]
        found.numbers |= {RISE: min(later - earlier for earlier, later in pairwise(gaps)), LARGEST: gaps[-1]}
        last = images[-1] + NOISE * draw(SAMPLES, SIZE)
        seen, held = slice(0, SAMPLES // 2), slice(SAMPLES // 2, None)
        fitted = LinearMap.least_squares(x[seen], last[seen])
        found.numbers |= {MAPPED: fitted.retrieved(x[held], last[held]), ERROR: fitted.error(x[held], last[held])}
        turned = LinearMap.rotation(x[seen], last[seen])(x)
        scaled = turned * float((turned[seen] * last[seen]).sum() / turned[seen].square().sum())
        left = (scaled[held] - last[held]).square().sum() / (last[held] - last[held].mean(0)).square().sum()
        found.numbers[ROTATED] = float(left)
        found.numbers[UNMAPPED] = retrieved(x[held], last[held])
        found.curves[GAP.title, "least squares"] = (STRETCHES, gaps)
        return found
