"""Multinomial logistic regression: the problems of all targets, folds and penalties are solved side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..configuration import Count, Positive
from ..statistics.metrics import Accuracy, Metric
from .estimator import Estimator, K, LinearProbe, Probe, largest_of_best
from .gram import Standardised
from .quasi_newton import Problems, solve

COARSE = 3e-3  # gradient at which problems that only choose a penalty are solved well enough to be ranked


@dataclass(frozen=True)
class Logistic(Estimator, kind="logistic"):
    """The minimum of mean_n -log softmax(W x_n + b)[y_n] + penalty / 2 |W|^2, on standardised features.

    W has a row a class, also where there are two: with scikit-learn's C it is C = 1 / (penalty N) for three classes and more, and
    C = 2 / (penalty N) for two, where its one row of weights is the difference of ours. Features are standardised by the mean and
    scale of all training samples. Penalties are ranked in float32 by solutions up to a gradient of 3e-3; the probe itself is
    solved in float64.
    """

    metric: ClassVar[Metric] = Accuracy()

    tolerance: Positive = 1e-5
    """largest entry of the gradient of the mean loss at which a probe is solved"""
    iterations: Count = 300
    """at most, of the quasi-Newton method"""

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        folds = self.inner_folds(groups)
        standard = Standardised(features, rotate=True)
        turned = torch.cat([part for _, part in standard.rows(torch.arange(len(features)))])
        coded = {name: target.unique(return_inverse=True) for name, target in targets.items()}
        found: dict[K, Probe] = {}
        for size in sorted({len(classes) for classes, _ in coded.values()}):
            names = [name for name, (classes, _) in coded.items() if len(classes) == size]
            own = torch.stack([coded[name][1] for name in names])
            chosen = self._choose(turned, standard.eigenvalues, own, size, folds)
            problems = Problems(
                turned,
                standard.eigenvalues,
                own,
                torch.ones(len(names), len(turned), dtype=torch.float64),
                torch.tensor([choice.penalty for choice in chosen], dtype=torch.float64),
                size,
            )
            start = torch.stack([choice.solution for choice in chosen]).double()
            solutions = solve(problems, self.tolerance, self.iterations, start)
            for name, choice, solution in zip(names, chosen, solutions, strict=True):
                weights, intercepts = standard.unscaled(solution[:-1], solution[-1])
                found[name] = LinearProbe(weights, intercepts, coded[name][0], choice.penalty, choice.score, True)
        return {name: found[name] for name in targets}

    def _choose(self, x: Tensor, variances: Tensor, targets: Tensor, size: int, folds: list[Tensor]) -> list[_Choice]:
        """The best penalty of each of targets [M, N], with classes 0 .. size - 1, by the accuracy in the folds."""
        tried = [(m, fold, penalty) for m in range(len(targets)) for fold in range(len(folds)) for penalty in self.penalties]
        masks = torch.stack(folds)
        which, fold = torch.tensor([m for m, _, _ in tried]), torch.tensor([fold for _, fold, _ in tried])
        problems = Problems(
            x.float(),
            variances.float(),
            targets[which],
            (~masks[fold]).float(),
            torch.tensor([penalty for _, _, penalty in tried]),
            size,
        )
        solutions = solve(problems, COARSE, self.iterations)
        right = ((problems.logits(solutions).argmax(-1) == targets[which]) & masks[fold]).sum(1)
        counts = right.view(len(targets), len(folds), len(self.penalties))
        scores = counts.sum(1).double() / targets.shape[1]
        best = [largest_of_best(self.penalties, own.tolist()) for own in scores]
        kept = solutions.view(*counts.shape, *solutions.shape[1:])
        return [
            _Choice(self.penalties[index], float(scores[m, index]), kept[m, :, index].mean(0)) for m, index in enumerate(best)
        ]


class _Choice(NamedTuple):
    """A penalty, its cross-validated accuracy, and the mean of the folds' solutions, from which the probe's is soon reached."""

    penalty: float
    score: float
    solution: Tensor
