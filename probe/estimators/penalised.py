"""Estimators with a penalty, which cross-validation inside the training samples chooses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from ..captures.stored import subset
from ..configuration import Folds, Natural, NotEmpty, Positive
from ..statistics.groups import group_folds
from .estimator import Estimator, K, Probe, predicted


@dataclass(frozen=True)
class PenalisedEstimator(Estimator):
    """Base of the estimators that choose a penalty."""

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Grouped cross-validation on the training samples chooses among these; each is relative to the number of samples."""
    folds: Folds = 4
    """The cross-validation that chooses the penalty has this many folds, and needs at least as many groups."""
    seed: Natural = 0
    """This seed decides the order in which groups are put into folds, and whatever else a fit draws."""

    def inner_folds(self, groups: Tensor) -> list[Tensor]:
        """The folds that a penalty is chosen by, masks [N]. Raises CannotFitError for fewer groups than folds."""
        return group_folds(groups, self.folds, self.seed)


@dataclass(frozen=True)
class PathEstimator(PenalisedEstimator):
    """Base of the estimators that say how to fit each of their penalties, and leave the choice to this class.

    A penalty's score is that of what its probes answer in all folds together. Where a fold leaves one class alone to fit, that
    class is the answer there.
    """

    @abstractmethod
    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        """Fit a probe for each of `penalties`, to each target: name -> probes in that order.

        features [N, D]; targets: name -> [N], each with two values at least.
        """

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        tried = {name: self.no_answers(target).repeat(len(self.penalties), 1) for name, target in targets.items()}
        for held_out in self.inner_folds(groups):
            seen = {name: target[~held_out] for name, target in targets.items()}
            able = {name: target for name, target in seen.items() if self.metric.flaw(target) is None}
            paths = self.fit_paths(subset(features, ~held_out), able)  # type: ignore[arg-type]  # stored, where it streams
            rows = held_out.nonzero()[:, 0]
            for name, answers in tried.items():
                for index in range(len(self.penalties)):
                    own = predicted(paths[name][index], features, rows) if name in able else seen[name][0]
                    answers[index, held_out] = own.to(answers)
        chosen = {name: self._choose(answers, targets[name]) for name, answers in tried.items()}
        found: dict[K, Probe] = {}
        for penalty in {penalty for penalty, _ in chosen.values()}:
            alike = {name: target for name, target in targets.items() if chosen[name][0] == penalty}
            for name, [probe] in replace(self, penalties=(penalty,)).fit_paths(features, alike).items():
                found[name] = probe.chosen(penalty, chosen[name][1])
        return {name: found[name] for name in targets}

    def _choose(self, answers: Tensor, target: Tensor) -> tuple[float, float]:
        """The best penalty, and its score, by the answers [penalties, N] in the folds."""
        baseline = self.metric.baseline(target)
        scores = [self.metric.score(own, target, baseline) for own in answers]
        best = largest_of_best(self.penalties, scores)
        return self.penalties[best], scores[best]


def largest_of_best(penalties: Sequence[float], scores: Sequence[float]) -> int:
    """The index of the best score; of equally good penalties the largest is the simplest probe."""
    return max(range(len(penalties)), key=lambda index: (scores[index], penalties[index]))


def coded(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Classes as numbers: (the classes, ascending; the index of each sample's, [N]; their one-hot columns, [N, C])."""
    classes, index = target.unique(return_inverse=True)
    return classes, index, torch.nn.functional.one_hot(index, len(classes)).double()
