"""Ridge regression, on numbers and on one-hot classes: one pass over the features for all targets, penalties and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..statistics.metrics import Accuracy, Metric, RSquared
from .estimator import K, LinearProbe, Probe, predicted
from .gram import Centred, FoldedSums, Sums
from .penalised import PenalisedEstimator, largest_of_best


@dataclass(frozen=True)
class RidgeRegression(PenalisedEstimator, kind="ridge_regression"):
    """W = (X^T X + penalty N I)^{-1} X^T (Y - mean), on features standardised by the training samples' mean and scale.

    Folds share one Gram matrix each: what a fold leaves out is subtracted, and each pair of fold and penalty costs one Cholesky
    factor. More features than samples are first turned into the axes that the samples span, which changes no answer.
    """

    metric: ClassVar[Metric] = RSquared()
    streams: ClassVar[bool] = True

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        problem = _Problem(self, features, targets, self.inner_folds(groups))
        every = range(len(problem.folded))
        tried = [problem.scored(fold, [problem.solve(problem.without(fold))])[0] for fold in every]
        return dict(problem.probes(tried, problem.sums.total))

    def cross_predict(
        self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor, folds: Sequence[Tensor]
    ) -> dict[K, Tensor]:
        """See `Estimator.cross_predict`. The penalty is chosen by leaving out, one by one, the other folds: what is solved
        without two folds serves both, and no Gram matrix is made twice.
        """
        problem = _Problem(self, features, targets, list(folds))
        every = range(len(problem.folded))
        if len(every) < 3:
            return super().cross_predict(features, targets, groups, folds)
        pairs = {frozenset((a, b)): problem.solve(problem.without(a, b)) for a in every for b in range(a)}
        tried: dict[int, list[_Scored]] = {held_out: [] for held_out in every}
        for fold in every:
            others = [held_out for held_out in every if held_out != fold]
            scored = problem.scored(fold, [pairs[frozenset((held_out, fold))] for held_out in others])
            for held_out, own in zip(others, scored, strict=True):
                tried[held_out].append(own)
        answers = {name: self.no_answers(target) for name, target in targets.items()}
        for held_out in every:
            for name, probe in problem.probes(tried[held_out], problem.without(held_out)).items():
                rows = problem.folded[held_out]
                answers[name][rows] = predicted(probe, features, rows).to(answers[name])
        return answers

    def precision(self, features: Tensor) -> torch.dtype:
        """What Gram matrices are multiplied in; they are added up and solved in float64.

        float32 for features that are no more exact than that, where the weakest penalty is above what they are rounded by.
        """
        return torch.float32 if features.dtype != torch.float64 and min(self.penalties) >= 1e-5 else torch.float64

    def encode(self, target: Tensor) -> tuple[Tensor | None, Tensor]:
        """Encode a target [N] as (classes or None, columns [N, C])."""
        return None, target[:, None].double()


@dataclass(frozen=True)
class Ridge(RidgeRegression, kind="ridge"):
    """Ridge regression on one-hot classes; the answer is the class with the largest score. Otherwise as `RidgeRegression`."""

    metric: ClassVar[Metric] = Accuracy()

    def encode(self, target: Tensor) -> tuple[Tensor | None, Tensor]:
        classes = target.unique()
        return classes, target[:, None] == classes


_Scored = dict[Any, Tensor]
"""For each target, the sums of a metric's numerators and denominators on a fold, [2, P] for P penalties."""


class _Problem:
    """Targets side by side as columns, against one set of features in folds."""

    def __init__(self, estimator: RidgeRegression, features: Tensor, targets: Mapping[K, Tensor], folds: list[Tensor]) -> None:
        self.estimator, self.targets = estimator, targets
        self.encoded = {name: estimator.encode(target) for name, target in targets.items()}
        self.sums = FoldedSums(
            Centred(features, estimator.precision(features)),
            torch.cat([columns for _, columns in self.encoded.values()], dim=1),
            folds,
        )
        self.folded = self.sums.folds
        self.baselines = {name: estimator.metric.baseline(target) for name, target in targets.items()}

    def without(self, *folds: int) -> Sums:
        """The sums over the samples of the other folds."""
        left = self.sums.total
        for fold in folds:
            left = left - self.sums.parts[fold]
        return left

    def solve(self, sums: Sums) -> tuple[Tensor, Tensor]:
        return sums.solve(self.estimator.penalties)

    def scored(self, fold: int, solutions: Sequence[tuple[Tensor, Tensor]]) -> list[_Scored]:
        """What each of some solutions scores on a fold, whose samples are read once for all of them."""
        weights, intercepts = (torch.cat(parts) for parts in zip(*solutions, strict=True))
        found: list[_Scored] = [{} for _ in solutions]
        for name, answers in self._answers(fold, weights, intercepts).items():
            truth = self.targets[name][self.folded[fold]]
            parts = (self.estimator.metric.parts(answer, truth, self.baselines[name]) for answer in answers)
            sums = torch.stack([torch.stack([above.sum(), below.sum()]) for above, below in parts], dim=1)
            for own, part in zip(found, sums.split(len(self.estimator.penalties), dim=1), strict=True):
                own[name] = part
        return found

    def probes(self, tried: Sequence[_Scored], sums: Sums) -> dict[Any, Probe]:
        """A probe for each target, from `sums`, with the penalty that does best in what was tried on all folds together."""
        penalties, metric = self.estimator.penalties, self.estimator.metric
        totals = {name: torch.stack([scored[name] for scored in tried]).sum(0) for name in self.targets}
        values = {name: [metric.of_ratio(float(a / b)) for a, b in zip(*total, strict=True)] for name, total in totals.items()}
        best = {name: largest_of_best(penalties, own) for name, own in values.items()}
        used = sorted(set(best.values()))
        weights, intercepts = sums.solve(tuple(penalties[index] for index in used))
        found: dict[Any, Probe] = {}
        for name, (classes, own) in self._split(torch.cat([weights, intercepts[:, None]], dim=1)).items():
            chosen = own[used.index(best[name])]
            raw, offset = self.sums.on_activations(chosen[:-1], chosen[-1])
            found[name] = LinearProbe(raw, offset, classes, penalties[best[name]], values[name][best[name]])
        return found

    def _answers(self, fold: int, weights: Tensor, intercepts: Tensor) -> dict[Any, Tensor]:
        """What the probes of solutions answer to a fold's samples, [P, n] for each target; of scores only a chunk is held."""
        found: dict[Any, list[Tensor]] = {name: [] for name in self.targets}
        for scores in self.sums.scores(fold, weights, intercepts):
            for name, (classes, own) in self._split(scores, dim=1).items():
                found[name].append(_read(classes, own))
        return {name: torch.cat(parts, dim=1) for name, parts in found.items()}

    def _split(self, columns: Tensor, dim: int = -1) -> dict[Any, tuple[Tensor | None, Tensor]]:
        """Of columns [..., M], or M on another axis, those of each target, with its classes."""
        parts = columns.split([own.shape[1] for _, own in self.encoded.values()], dim=dim)
        return {name: (classes, part) for (name, (classes, _)), part in zip(self.encoded.items(), parts, strict=True)}


def _read(classes: Tensor | None, scores: Tensor) -> Tensor:
    """The answers [P, n] to scores [P, C, n]: as they are, or the class with the largest, the first of equal ones."""
    if classes is None:
        return scores[:, 0]
    rank = torch.arange(len(classes), 0, -1, dtype=scores.dtype)[:, None]
    first = ((scores >= scores.amax(1, keepdim=True)) * rank).amax(1)  # two such maxima take a third of the time of max's index
    return classes[len(classes) - first.long()]
