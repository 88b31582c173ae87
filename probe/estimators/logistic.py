"""Multinomial logistic regression: the problems of all targets, folds and penalties are solved side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..configuration import Count, Positive
from .classifier import Classifier
from .estimator import K, LinearProbe, Probe
from .gram import Axes, Centred, along_axes, times
from .penalised import PenalisedEstimator, largest_of_best
from .quasi_newton import Problems, solve

COARSE = 3e-3  # gradient at which problems that only choose a penalty are solved well enough to be ranked


@dataclass(frozen=True)
class Logistic(Classifier, PenalisedEstimator, kind="logistic"):
    """The minimum of mean_n -log softmax(W x_n + b)[y_n] + penalty / 2 |W|^2, on standardised features.

    W has a row a class, also where there are two: with scikit-learn's C it is C = 1 / (penalty N) for three classes and more, and
    C = 2 / (penalty N) for two, where its one row of weights is the difference of ours. Features are standardised by the mean and
    scale of all training samples. Penalties are ranked in float32 by solutions up to a gradient of 3e-3; the probe itself is
    solved in float64 where the features are, else in float32. The mean is over classes, and then over the samples of each, where
    balanced. Features that are stored are read anew for each step, and none of them is held.
    """

    has_probabilities: ClassVar[bool] = True
    streams: ClassVar[bool] = True

    tolerance: Positive = 1e-5
    """A probe counts as solved when no entry of the gradient of the mean loss is larger than this."""
    iterations: Count = 300
    """The quasi-Newton method stops after at most this many iterations."""

    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        folds = self.inner_folds(groups)
        precise = torch.float64 if features.dtype == torch.float64 else torch.float32
        turning = Centred(features, precise, rotate=True)
        turned = along_axes(turning, precise)
        coded = {name: target.unique(return_inverse=True) for name, target in targets.items()}
        found: dict[K, Probe] = {}
        for size in sorted({len(classes) for classes, _ in coded.values()}):
            names = [name for name, (classes, _) in coded.items() if len(classes) == size]
            own = torch.stack([coded[name][1] for name in names])
            weighed = torch.stack([self.sample_weights(index, size) for index in own])
            chosen = self._choose(turned, turning.variances, own, weighed, size, folds)
            problems = _problems(turning, turned, own, weighed, [choice.penalty for choice in chosen], size)
            start = torch.stack([choice.solution for choice in chosen]).to(precise)
            solutions = solve(problems, self.tolerance, self.iterations, start)
            for name, choice, solution in zip(names, chosen, solutions, strict=True):
                probe = _probe(turning, solution, coded[name][0])
                found[name] = probe.chosen(choice.penalty, choice.score)
        return {name: found[name] for name in targets}

    def _choose(
        self, x: Axes, variances: Tensor, targets: Tensor, weights: Tensor, size: int, folds: list[Tensor]
    ) -> list[_Choice]:
        """The best penalty of each of targets [M, N], with classes 0 .. size - 1, by the accuracy in the folds.

        weights: of the samples of each target, [M, N].
        """
        tried = [(m, fold, penalty) for m in range(len(targets)) for fold in range(len(folds)) for penalty in self.penalties]
        masks = torch.stack(folds)
        which, fold = torch.tensor([m for m, _, _ in tried]), torch.tensor([fold for _, fold, _ in tried])
        problems = Problems(
            x.to(torch.float32),
            variances.float(),
            targets[which],
            weights[which].float() * ~masks[fold],
            torch.tensor([penalty for _, _, penalty in tried]),
            size,
        )
        solutions = solve(problems, COARSE, self.iterations).view(len(targets), len(folds), len(self.penalties), size, -1)
        scoring = x.to(solutions.dtype)
        counts = torch.zeros(len(targets), len(self.penalties), dtype=torch.float64)
        for index, held_out in enumerate(folds):
            own = solutions[:, index].flatten(0, 2)  # [targets * penalties * classes, D + 1]
            logits = times(own[:, :-1], scoring, held_out.nonzero()[:, 0]).T + own[:, -1]
            answers = logits.reshape(len(logits), *counts.shape, size).argmax(-1)
            right = answers == targets[:, held_out].T[..., None]
            counts += (right * weights[:, held_out].T[..., None]).sum(0)
        scores = counts / targets.shape[1]
        best = [largest_of_best(self.penalties, own.tolist()) for own in scores]
        return [
            _Choice(self.penalties[index], float(scores[m, index]), solutions[m, :, index].mean(0))
            for m, index in enumerate(best)
        ]


def logistic_path(
    features: Tensor, target: Tensor, weights: Tensor, penalties: Sequence[float], tolerance: float, iterations: int
) -> list[LinearProbe]:
    """Fit a multinomial logistic regression of classes [N] to features [N, D] for each penalty, as `Logistic` has it.

    weights: of the samples, [N], of mean 1.
    """
    precise = torch.float64 if features.dtype == torch.float64 else torch.float32
    turning = Centred(features, precise, rotate=True)
    turned = along_axes(turning, precise)
    classes, index = target.unique(return_inverse=True)
    same, weighed = index.expand(len(penalties), -1), weights.expand(len(penalties), -1)
    problems = _problems(turning, turned, same, weighed, penalties, len(classes))
    return [_probe(turning, solution, classes) for solution in solve(problems, tolerance, iterations)]


def _problems(
    turning: Centred, turned: Axes, targets: Tensor, weights: Tensor, penalties: Sequence[float], classes: int
) -> Problems:
    """A problem for each row of targets [B, N], with the weights of its samples [B, N] and its penalty, in the axes' dtype."""
    precise = turning.dtype
    strengths = torch.tensor(penalties, dtype=precise)
    return Problems(turned, turning.variances.to(precise), targets, weights.to(precise), strengths, classes)


def _probe(turning: Centred, solution: Tensor, classes: Tensor) -> LinearProbe:
    """The probe of a solution [C, D + 1] along the axes, as weights on the activations."""
    weights, intercepts = turning.on_activations(*solution.T.double().split([len(solution.T) - 1, 1]))
    return LinearProbe(weights, intercepts[0], classes, has_probabilities=True)


class _Choice(NamedTuple):
    """A penalty, its cross-validated accuracy, and the mean of the folds' solutions, from which the probe's is soon reached."""

    penalty: float
    score: float
    solution: Tensor
