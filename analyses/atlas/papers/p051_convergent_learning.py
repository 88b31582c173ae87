"""P051: whether units of one network have their like in another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.hooks.names import hook_name
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...similarity.centred_kernel_alignment import CentredKernelAlignment
from ...similarity.unit_matching import UnitMatching, match_units
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals
from ..reviewers import MIXER, TASK, TRAINING, reviewer, reviews

UNITS, SAMPLES, ANGLES = 32, 2000, (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

RECOVERED = "share of units whose copy is found after they were permuted"
PERMUTED = "least correlation of a unit with its permuted copy"
ROTATED = "mean correlation of matched units after a rotation"
KEPT = "similarity of the whole layer after that rotation (CKA)"
SPLIT_MANY = "each unit there twice, half as clearly: mean correlation where several may choose the same"
SPLIT_ONE = "the same, where each unit is chosen once"
APART = "mean correlation of matched units of unrelated layers"
BEST = "trained from two seeds: correlation of the best match in a layer, mean of layers"
ALONE = "share of units whose match correlates by less than 0.5"
LEARNED = "mean correlation of matches, less that with an untrained model"
FALL = "mean correlation of matches in the first layer, less that in the last"
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


@dataclass(frozen=True)
class TwoSeeds(Claim, kind="p051-two-seeds"):
    """Hidden units of two models that learned the same reviews from two seeds are matched, layer by layer."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = TRAINING
    """Both models are trained with these settings."""
    layers: int = 3
    """Each model has this many layers."""

    paper, scope = "P051", Scope.TRAINED
    statement = (
        "Of two models trained from two seeds, some units have their like in the other, learned and not there from the start, "
        "while many have none."
    )
    measurements = (
        at_least(BEST, 0.85, "correlation"),
        at_least(ALONE, 0.2, "share"),
        at_least(LEARNED, 0.1, "correlation"),
    )
    note = "In the paper's networks of images matches get worse with depth; in these models they do not, as a number notes."

    def small(self) -> Self:
        return replace(self, layers=2, training=replace(self.training, steps=100))

    def experiment(self, seed: int, run: Run) -> Findings:
        made = [reviewer(run, f"seed{seed}-{i}", seed + 100 * i, self.training, layers=self.layers) for i in range(2)]
        start = Model(ModelConfig(TASK.vocabulary, 32, self.layers, MIXER, seed=seed + 200)).eval()
        held = reviews(seed, 2, 64)
        hooks = [hook_name(layer, "mlp.hook_post") for layer in range(self.layers)]
        with torch.no_grad():
            first, second, untrained = (one.run_with_cache(held.tokens, names_filter=hooks)[1] for one in (*made, start))
        matches = [match_units(first[hook].flatten(0, 1), second[hook].flatten(0, 1)).correlation for hook in hooks]
        before = [match_units(first[hook].flatten(0, 1), untrained[hook].flatten(0, 1)).correlation for hook in hooks]
        best = torch.stack([own.nan_to_num(-1.0).max() for own in matches])
        found = Findings({BEST: float(best.mean()), ALONE: float((~(torch.cat(matches) >= 0.5)).double().mean())})
        found.numbers[LEARNED] = float(torch.cat(matches).nanmean() - torch.cat(before).nanmean())
        found.put(FALL, float(matches[0].nanmean() - matches[-1].nanmean()), "correlation")
        return found
