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
        tried = [problem.solve(problem.without(fold)) for fold in every]
        return dict(problem.probes(every, tried, problem.sums.total))

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
        answers = {name: self.no_answers(target) for name, target in targets.items()}
        for held_out in every:
            others = [fold for fold in every if fold != held_out]
            tried = [pairs[frozenset((held_out, fold))] for fold in others]
            for name, probe in problem.probes(others, tried, problem.without(held_out)).items():
                rows = problem.folded[held_out]
                answers[name][rows] = predicted(probe, features, rows).to(answers[name])
        return answers

    def precision(self, features: Tensor) -> torch.dtype:
        """What Gram matrices are multiplied in; they are added up and solved in float64.

        float32 for features that are no more exact than that, where the weakest penalty is above what they are rounded by.
        """
        return torch.float32 if features.dtype != torch.float64 and min(self.penalties) >= 1e-5 else torch.float64

    def encode(self, target: Tensor) -> tuple[Tensor | None, Tensor]:
        """Encode a target [N] as (classes or None, columns [C, N])."""
        return None, target[None].double()


@dataclass(frozen=True)
class Ridge(RidgeRegression, kind="ridge"):
    """Ridge regression on one-hot classes; the answer is the class with the largest score. Otherwise as `RidgeRegression`."""

    metric: ClassVar[Metric] = Accuracy()

    def encode(self, target: Tensor) -> tuple[Tensor | None, Tensor]:
        classes = target.unique()
        return classes, target == classes[:, None]


class _Problem:
    """Targets side by side as columns, against one set of features in folds."""

    def __init__(self, estimator: RidgeRegression, features: Tensor, targets: Mapping[K, Tensor], folds: list[Tensor]) -> None:
        self.estimator, self.targets = estimator, targets
        self.encoded = {name: estimator.encode(target) for name, target in targets.items()}
        self.sums = FoldedSums(
            Centred(features, estimator.precision(features)),
            torch.cat([columns for _, columns in self.encoded.values()]),
            folds,
        )
        self.folded = self.sums.folds

    def without(self, *folds: int) -> Sums:
        """The sums over the samples of the other folds."""
        left = self.sums.total
        for fold in folds:
            left = left - self.sums.parts[fold]
        return left

    def solve(self, sums: Sums) -> tuple[Tensor, Tensor]:
        return sums.solve(self.estimator.penalties)

    def probes(self, folds: Sequence[int], tried: Sequence[tuple[Tensor, Tensor]], sums: Sums) -> dict[Any, Probe]:
        """A probe for each target, from `sums`, with the penalty that does best on folds by what was tried without each."""
        penalties, metric = self.estimator.penalties, self.estimator.metric
        totals = {name: torch.zeros(2, len(penalties), dtype=torch.float64) for name in self.targets}
        baselines = {name: metric.baseline(target) for name, target in self.targets.items()}
        for fold, solution in zip(folds, tried, strict=True):
            for name, answers in self._answers(fold, solution).items():
                truth = self.targets[name][self.folded[fold]]
                for index, answer in enumerate(answers):
                    parts = metric.parts(answer, truth, baselines[name])
                    totals[name][:, index] += torch.stack([part.sum() for part in parts])
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

    def _answers(self, fold: int, solution: tuple[Tensor, Tensor]) -> dict[Any, Tensor]:
        """What the probes of a solution answer to a fold's samples, [P, n] for each target; of scores only a chunk is held."""
        found: dict[Any, list[Tensor]] = {name: [] for name in self.targets}
        for scores in self.sums.scores(fold, *solution):
            for name, (classes, own) in self._split(scores, dim=1).items():
                found[name].append(_read(classes, own))
        return {name: torch.cat(parts, dim=1) for name, parts in found.items()}

    def _split(self, columns: Tensor, dim: int = -1) -> dict[Any, tuple[Tensor | None, Tensor]]:
        """Of columns [..., M], or M on another axis, those of each target, with its classes."""
        parts = columns.split([len(own) for _, own in self.encoded.values()], dim=dim)
        return {name: (classes, part) for (name, (classes, _)), part in zip(self.encoded.items(), parts, strict=True)}


def _read(classes: Tensor | None, scores: Tensor) -> Tensor:
    """The answers [P, n] to scores [P, C, n]."""
    return scores[:, 0] if classes is None else classes[scores.max(1).indices]  # a third of the time of argmax
