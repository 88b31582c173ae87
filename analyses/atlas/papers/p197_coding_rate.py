"""P197: kernel coding rate, from the tangent kernel of a model."""

from __future__ import annotations

from itertools import pairwise

import torch

from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import choose_by_coding_rate, coding_rate
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SYMBOLS, TOKENS, SAMPLES, CHOSEN = 6, 8, 48, 12

GREEDY = "coding rate of the samples chosen one by one, against their determinant"
RISE = "largest rise of a gain above the one before"
LEAST = "least gain"
DUPLICATES = "coding rate of distinct samples over that of half of them twice"
RANDOM = "coding rate of the chosen samples over the largest of 20 random sets"
GAINS = Axes("what the next sample adds", "sample", "nats")


class CodingRate(Claim, kind="p197-coding-rate"):
    """The tangent kernel of a DeltaNet on random tokens."""

    paper, scope = "P197", Scope.IDENTITY
    statement = (
        "The coding rate of a tangent kernel is gained sample by sample in steps that never grow, so that choosing greedily "
        "finds diverse samples; repeated ones count less."
    )
    measurements = (
        at_most(GREEDY, 1e-8),
        at_most(RISE, 1e-10, "nats"),
        at_least(LEAST, 0.0, "nats"),
        at_least(DUPLICATES, 1.05, "ratio"),
        at_least(RANDOM, 1.0, "ratio"),
    )
    panels = (GAINS,)
    note = "That labelling such samples trains better detectors is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, SYMBOLS, (SAMPLES, TOKENS), generator=generator)
        model = Model(ModelConfig(SYMBOLS, 16, 1, DeltaNet(heads=2, short_convolution=0), seed=seed)).eval()
        kernel = empirical_ntk(model, tokens)
        precision = 0.1 * float(kernel.diagonal().mean())
        chosen = choose_by_coding_rate(kernel, CHOSEN, precision)

        def rate(rows: list[int]) -> float:
            return coding_rate(kernel[rows][:, rows], precision)

        drawn = [torch.randperm(SAMPLES, generator=generator)[:CHOSEN].tolist() for _ in range(20)]
        half = drawn[0][: CHOSEN // 2]
        found = Findings()
        found.numbers = {
            GREEDY: abs(sum(chosen.gains) / rate(chosen.chosen) - 1),
            RISE: max(later - earlier for earlier, later in pairwise(chosen.gains)),
            LEAST: min(chosen.gains),
            DUPLICATES: rate(drawn[0]) / rate(half + half),
            RANDOM: rate(chosen.chosen) / max(rate(rows) for rows in drawn),
        }
        found.curves[GAINS.title, "chosen greedily"] = (range(1, CHOSEN + 1), chosen.gains)
        return found
