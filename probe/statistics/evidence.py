"""The evidence for a probe: its score on held-out samples, and what the score has to be compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..hooks.names import layer_column, site_of
from .groups import group_shuffles
from .metrics import Metric
from .nulls import share_as_large

NAN = float("nan")


class ProbingTask(NamedTuple):
    """Which label a probe has to read, and from where. position: -1 where one probe serves all positions."""

    hook: str
    position: int
    label: str


@dataclass(frozen=True)
class Answers:
    """What a probe and its control answered to n held-out samples.

    guess, truth: of the label, [n]; no guess where there is no probe. control, control_truth: of the control task. baseline,
    control_baseline: the answers without the activations, [n]. groups: the source of each sample, [n]. Where the metric takes a
    score of each class, answers are [n, C], and truths [n] the numbers of classes (`AnswerForm`).
    """

    guess: Tensor | None
    truth: Tensor
    control: Tensor | None
    control_truth: Tensor | None
    baseline: Tensor
    control_baseline: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Evidence:
    """How scores are turned into evidence: by which metric, with how many resamples and permutations."""

    metric: Metric
    resamples: int
    permutations: int
    seed: int

    def row(self, model: str, task: ProbingTask, answers: Answers, notes: tuple[str, ...]) -> dict[str, Any]:
        """A row of `ProbeScores` for a probing task, but for what the fit says of itself."""
        said = list(notes)
        accuracy, low, high = self.scored(answers.guess, answers.truth, answers.baseline, answers.groups)
        control, control_low, control_high = self.scored(
            answers.control, answers.control_truth, answers.control_baseline, answers.groups
        )
        null, p_value = self.null(answers)
        if answers.guess is not None and np.isnan(accuracy):
            said.append(f"the {self.metric.name} is undefined on these test samples, as an AUC is where all have one class")
        elif answers.guess is not None and np.isnan(low):
            said.append("interval and p-value are undefined: all test samples come from one group")
        majority = self.metric.score(answers.baseline, answers.truth, answers.baseline) if len(answers.truth) else NAN
        return {
            "model": model,
            "hook": task.hook,
            "layer": layer_column(task.hook),
            "site": site_of(task.hook),
            "position": task.position,
            "label": task.label,
            "uniform_length": math.log2(len(answers.truth.unique())) if self.metric.of_classes and len(answers.truth) else NAN,
            "classes": len(answers.truth.unique()) if self.metric.of_classes else 0,
            "metric": self.metric.name,
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "majority": majority,
            "control": control,
            "control_low": control_low,
            "control_high": control_high,
            "selectivity": self._above(accuracy, control),
            "null": null,
            "p_value": p_value,
            "samples": len(answers.truth),
            "note": "; ".join(said),
        }

    def scored(self, guess: Tensor | None, truth: Tensor | None, baseline: Tensor, groups: Tensor) -> tuple[float, float, float]:
        """Compute a score, and the lower and the upper end of its 95% interval over groups."""
        if guess is None or truth is None:
            return NAN, NAN, NAN
        low, high = self.metric.interval(guess, truth, baseline, groups, self.resamples, self.seed)
        return self.metric.score(guess, truth, baseline), low, high

    def null(self, answers: Answers) -> tuple[float, float]:
        """Compute (mean score, p-value) where labels of the test samples are dealt to other groups and the answers stand.

        p = (1 + permutations that score as well) / (1 + permutations), exact where labels and activations are independent;
        nan where the answers have no score, such as an AUC of samples of one class.
        """
        if answers.guess is None or not self.permutations or len(answers.groups.unique()) < 2:
            return NAN, NAN
        shuffles = group_shuffles(answers.groups.numpy(), self.permutations, self.seed)
        found = self.metric.scores(answers.guess, (answers.truth[shuffle] for shuffle in shuffles), answers.baseline)
        own = self.metric.score(answers.guess, answers.truth, answers.baseline)
        sign = 1.0 if self.metric.larger_is_better else -1.0
        return float(np.mean(found)), share_as_large(sign * np.array(found), sign * own)

    def _above(self, score: float, other: float) -> float:
        """How much better a score is than another."""
        return score - other if self.metric.larger_is_better else other - score
