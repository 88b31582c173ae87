"""P051: whether units of one network have their like in another."""

from __future__ import annotations

import torch

from ....probe.runs.run import Run
from ...similarity.centred_kernel_alignment import CentredKernelAlignment
from ...similarity.unit_matching import UnitMatching, match_units
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

UNITS, SAMPLES, ANGLES = 32, 2000, (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

RECOVERED = "share of units whose copy is found after they were permuted"
PERMUTED = "least correlation of a unit with its permuted copy"
ROTATED = "mean correlation of matched units after a rotation"
KEPT = "similarity of the whole layer after that rotation (CKA)"
SPLIT_MANY = "each unit there twice, half as clearly: mean correlation where several may choose the same"
SPLIT_ONE = "the same, where each unit is chosen once"
APART = "mean correlation of matched units of unrelated layers"
TURNING = Axes("units turned into each other", "share of the way to a random rotation", "mean matched correlation")


class Matching(Claim, kind="p051-matching"):
    """A layer is compared with permuted, rotated, split and unrelated ones."""

    paper, scope = "P051", Scope.CONSTRUCTION
    statement = (
        "Matching by correlation finds every unit again after a permutation, and hardly any after a rotation that leaves the "
        "space of the layer as it was; where one unit is several there, semi-matching finds what one-to-one matching misses."
    )
    measurements = (
        equals(RECOVERED, 1.0, unit="share"),
        at_least(PERMUTED, 1 - 1e-10, "correlation"),
        at_most(ROTATED, 0.7, "correlation"),
        at_least(KEPT, 1 - 1e-10, "similarity"),
        at_least(SPLIT_MANY, 0.85, "correlation"),
        at_most(SPLIT_ONE, 0.6, "correlation"),
        at_most(APART, 0.1, "correlation"),
    )
    panels = (TURNING,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        units = draw(SAMPLES, UNITS)
        order = torch.randperm(UNITS, generator=torch.Generator().manual_seed(seed))
        copy = match_units(units, 3 * units[:, order] + 1)
        skew = draw(UNITS, UNITS)
        turn = torch.matrix_exp(skew - skew.mT)
        found = Findings({RECOVERED: float((order[copy.partner] == torch.arange(UNITS)).double().mean())})
        found.numbers[PERMUTED] = float(copy.correlation.min())
        found.numbers |= {ROTATED: UnitMatching()(units, units @ turn), KEPT: CentredKernelAlignment()(units, units @ turn)}
        split = torch.cat([units[:, : UNITS // 2] + 0.5 * draw(SAMPLES, UNITS // 2) for _ in range(2)], 1)
        for what, one_to_one in ((SPLIT_MANY, False), (SPLIT_ONE, True)):
            found.numbers[what] = UnitMatching(one_to_one)(split, units)
        found.numbers[APART] = UnitMatching()(units, draw(SAMPLES, UNITS))
        matched = [UnitMatching()(units, units @ torch.matrix_exp(angle / 8 * (skew - skew.mT))) for angle in ANGLES]
        found.curves[TURNING.title, "matched one to one"] = (ANGLES, matched)
        return found
