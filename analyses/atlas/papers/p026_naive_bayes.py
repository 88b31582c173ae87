"""P026: naive Bayes and logistic regression, two regimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ....probe.estimators.estimator import Estimator
from ....probe.estimators.logistic import Logistic
from ....probe.estimators.naive_bayes import NaiveBayes
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least

SIZES, SIZE, COUNTS = (16, 64), 32, (16, 32, 64, 128, 256, 512, 1024, 2048)
TESTED, DRAWS, APART, SHARED = 2000, 10, 2.5, 0.5
BAYES, LOGISTIC = NaiveBayes(penalties=(1e-3,), folds=2), Logistic(penalties=(1e-5,), folds=2)
NEAR, FEW_AT = 0.03, 2

FEWER = "samples that logistic regression needs over those that naive Bayes needs, independent features, the least of two sizes"
GROWTH = "exponent of the number of features in the samples that logistic regression needs"
GROWTH_BAYES = "the same, of naive Bayes"
FEW = "correlated features, 64 samples: error of logistic regression less that of naive Bayes"
MANY = "correlated features, 2048 samples: error of naive Bayes less that of logistic regression"
REGIMES = Axes("correlated features", "samples", "error on others", x_log=True)


@dataclass(frozen=True)
class TwoRegimes(Claim, kind="p026-two-regimes"):
    """Two normal classes, with independent features, and with features that go together."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""

    paper, scope = "P026", Scope.CONSTRUCTION
    statement = (
        "Naive Bayes comes near to its best error with fewer samples than logistic regression, which needs about as many "
        "times more as there are more features; where features go together it is better with few samples and worse with many."
    )
    measurements = (
        at_least(FEWER, 1.25, "ratio"),
        at_least(GROWTH, 0.5, "exponent"),
        at_least(FEW, 0.0, "error"),
        at_least(MANY, 0.03, "error"),
    )
    panels = (REGIMES,)
    note = "That naive Bayes needs but log d samples is said of classes that lie apart in every feature; here they do so in sum."

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        needed: dict[str, list[float]] = {"naive": [], "logistic": []}
        for size in SIZES:
            for name, estimator in (("naive", BAYES), ("logistic", LOGISTIC)):
                errors = [_error(estimator, size, count, False, seed) for count in COUNTS]
                needed[name].append(_samples_for(errors, errors[-1] + NEAR))
        found.numbers[FEWER] = min(b / a for a, b in zip(*needed.values(), strict=True))
        for name, what in (("logistic", GROWTH), ("naive", GROWTH_BAYES)):
            found.numbers[what] = float(np.log(needed[name][-1] / needed[name][0]) / np.log(SIZES[-1] / SIZES[0]))
        curves = {
            name: [_error(estimator, SIZE, count, True, seed) for count in COUNTS]
            for name, estimator in (("naive Bayes", BAYES), ("logistic", LOGISTIC))
        }
        found.numbers[FEW] = curves["logistic"][FEW_AT] - curves["naive Bayes"][FEW_AT]
        found.numbers[MANY] = curves["naive Bayes"][-1] - curves["logistic"][-1]
        for name, errors in curves.items():
            found.curves[REGIMES.title, name] = (COUNTS, errors)
        return found


def _error(estimator: Estimator, size: int, count: int, correlated: bool, seed: int) -> float:
    """The mean error on other samples of probes fitted to `count` samples, over several draws."""
    errors = []
    for number in range(DRAWS):
        x, label = _samples(size, count + TESTED, correlated, DRAWS * seed + number)
        probe = estimator.fit(x[:count], label[:count])
        errors.append((probe.predict(x[count:]) != label[count:]).double().mean())
    return float(torch.stack(errors).mean())


def _samples_for(errors: Sequence[float], wanted: float) -> float:
    """How many samples first give an error, by lines between errors over the logarithm of their number."""
    logs = np.log(COUNTS)
    for place, (before, after) in enumerate(pairwise(errors)):
        if before >= wanted >= after:
            share = (before - wanted) / max(before - after, 1e-12)
            return float(np.exp(logs[place] + share * (logs[place + 1] - logs[place])))
    return float(COUNTS[0])


def _samples(size: int, count: int, correlated: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes that lie APART standard deviations apart in all, evenly over the features.

    correlated: half of the features are noisy copies of what all share.
    """
    draw = seeded(seed)
    label = torch.arange(count) % 2
    x = draw(count, size) + (label.double()[:, None] - 0.5) * APART / size**0.5
    if correlated:
        x[:, : size // 2] += SHARED * draw(count, 1)
    return x, label
