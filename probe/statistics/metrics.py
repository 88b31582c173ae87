"""What a probe is scored by, with intervals in which whole groups are resampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .groups import expanded_interval, group_bootstrap, group_weights


class Metric(ABC):
    """A held-out score of guesses against the truth: a function of (sum of numerators) / (sum of denominators).

    name: as tables show it. of_classes: whether targets are classes, or numbers. by_class: whether a guess is a score of each
    class, [n, C], and the truth the number of one of them, rather than both a class or number. needs_probabilities: whether
    these scores are log-probabilities. larger_is_better: of scores.
    """

    name: str
    of_classes: bool
    by_class: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    larger_is_better: ClassVar[bool] = True

    @abstractmethod
    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        """The numerator and the denominator of each sample, [n] each, in float64.

        baseline: the answer without the activations, a number or [n].
        """

    @abstractmethod
    def of_ratio(self, ratio: float) -> float:
        """The score where the sums have this ratio; monotonic."""

    @abstractmethod
    def baseline(self, targets: Tensor) -> float:
        """What to answer knowing nothing but the training targets."""

    @abstractmethod
    def flaw(self, targets: Tensor) -> str | None:
        """Why a probe cannot be fitted to these training targets; None where it can."""

    def score(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> float:
        """The score of all samples together."""
        above, below = self.parts(guess, truth, baseline)
        return self.of_ratio(float(above.sum() / below.sum()))

    def scores(self, guess: Tensor, truths: Iterable[Tensor], baseline: float | Tensor) -> list[float]:
        """The scores of the same guesses against several truths, such as permuted ones."""
        return [self.score(guess, truth, baseline) for truth in truths]

    def interval(
        self, guess: Tensor, truth: Tensor, baseline: float | Tensor, groups: Tensor, resamples: int, seed: int
    ) -> tuple[float, float]:
        """The 95% interval of the score over groups [n]; nan for one group."""
        above, below = (part.numpy() for part in self.parts(guess, truth, baseline))
        low, high = sorted(self.of_ratio(end) for end in group_bootstrap(above, groups.numpy(), resamples, seed, below))
        return low, high


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of samples that are right. Its baseline is the most frequent class."""

    name = "accuracy"
    of_classes = True

    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        return (guess == truth).double(), torch.ones(len(truth), dtype=torch.float64)

    def of_ratio(self, ratio: float) -> float:
        return ratio

    def baseline(self, targets: Tensor) -> float:
        classes, counts = targets.unique(return_counts=True)
        return float(classes[counts.argmax()])

    def flaw(self, targets: Tensor) -> str | None:
        return "one value only" if len(targets.unique()) < 2 else None


@dataclass(frozen=True)
class BalancedAccuracy(Accuracy):
    """The mean over classes of the share of each class's samples that are right. Always answering one class scores 1 / C.

    A sample weighs 1 over how many of those that are scored together have its class.
    """

    name = "balanced accuracy"

    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        _, index, counts = truth.unique(return_inverse=True, return_counts=True)
        weights = 1 / counts.double()[index]
        return (guess == truth) * weights, weights


@dataclass(frozen=True)
class RSquared(Metric):
    """R2 = 1 - sum (y - guess)^2 / sum (y - b)^2 with b the mean of the training targets, which is the baseline and scores 0."""

    name = "R2"
    of_classes = False

    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        return (truth.double() - guess.double()).square(), (truth.double() - baseline).square()

    def of_ratio(self, ratio: float) -> float:
        return 1 - ratio

    def baseline(self, targets: Tensor) -> float:
        return float(targets.double().mean())

    def flaw(self, targets: Tensor) -> str | None:
        return "one value only" if len(targets) == 0 or bool((targets == targets[0]).all()) else None


@dataclass(frozen=True)
class LogLoss(Metric):
    """The mean of -log p(truth), in nats. Its baseline are the shares of the classes in training, as log-probabilities."""

    name = "log-loss"
    of_classes = True
    by_class = True
    needs_probabilities = True
    larger_is_better = False

    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        likely = guess.double().gather(1, truth[:, None])[:, 0]
        return -likely, torch.ones(len(truth), dtype=torch.float64)

    def of_ratio(self, ratio: float) -> float:
        return ratio

    def baseline(self, targets: Tensor) -> float:
        raise TypeError("the log-loss has a baseline for each class: `class_shares`")

    def flaw(self, targets: Tensor) -> str | None:
        return Accuracy().flaw(targets)


@dataclass(frozen=True)
class AreaUnderCurve(LogLoss):
    """The probability that a sample of a class has a higher score for it than one of another class; ties count half.

    It is the area under the ROC curve of each class against the others, as a mean over the classes that some samples have and
    some lack. A score that is the same for all has 1 / 2, and one that is nan for some sample has none: nan. It is no ratio of
    sums over samples: an interval scores each resample.
    """

    name = "AUC"
    needs_probabilities = False
    larger_is_better = True

    def parts(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> tuple[Tensor, Tensor]:
        raise TypeError("the AUC compares samples with each other; it has no parts by sample")

    def score(self, guess: Tensor, truth: Tensor, baseline: float | Tensor) -> float:
        return self.scores(guess, [truth], baseline)[0]

    def scores(self, guess: Tensor, truths: Iterable[Tensor], baseline: float | Tensor) -> list[float]:
        ranks, even = _Ranks(guess), np.ones(len(guess))
        found = (ranks.areas(truth.numpy(), even) for truth in truths)
        return [float("nan") if np.isnan(areas).all() else float(np.nanmean(areas)) for areas in found]

    def interval(
        self, guess: Tensor, truth: Tensor, baseline: float | Tensor, groups: Tensor, resamples: int, seed: int
    ) -> tuple[float, float]:
        count, ranks, classes = len(groups.unique()), _Ranks(guess), truth.numpy()
        if count < 2:
            return float("nan"), float("nan")
        drawn = (ranks.areas(classes, own) for own in group_weights(groups.numpy(), resamples, seed))
        found = np.array([np.nanmean(areas) for areas in drawn if not np.isnan(areas).all()])
        return expanded_interval(found, count) if len(found) else (float("nan"), float("nan"))


class _Ranks:
    """The scores of samples for each class, in order, so that a truth or a resample costs a pass over them.

    Of two classes one is ranked, by how much higher its score is, as the other has the same area.
    """

    def __init__(self, guess: Tensor) -> None:
        self.numbers = [1] if guess.shape[1] == 2 else list(range(guess.shape[1]))
        scores = [guess[:, 1] - guess[:, 0]] if guess.shape[1] == 2 else guess.unbind(1)
        self.known = not bool(guess.isnan().any())
        self.levels = [np.unique(own.double().numpy(), return_inverse=True)[1] for own in scores]

    def areas(self, truth: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area of each class that some samples have and some lack, where samples weigh so much, [n]; nan where one of the
        sides weighs nothing.
        """
        if not self.known:  # nan is in no order
            return np.full(1, np.nan)
        sides = [(level, truth == number) for level, number in zip(self.levels, self.numbers, strict=True)]
        return np.array([_area(level, own, weights) for level, own in sides if own.any() and not own.all()])


def _area(level: NDArray[np.int64], own: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """The probability that one of a class's own samples is on a higher level than another, of which ties count half."""
    above, below = (np.bincount(level, weights * side, int(level.max()) + 1) for side in (own, ~own))
    if not (above.sum() and below.sum()):
        return float("nan")
    lower = np.cumsum(below) - below / 2
    return float((above * lower).sum() / (above.sum() * below.sum()))


def class_shares(targets: Tensor, values: Tensor) -> Tensor:
    """The log of the share of each of `values` [C] among training targets [N], each counted once more than it comes: [C]."""
    counts = (targets[:, None] == values).sum(0).double()
    return ((counts + 1) / (counts.sum() + len(values))).log()


METRICS: dict[str, Metric] = {
    "accuracy": Accuracy(),
    "balanced_accuracy": BalancedAccuracy(),
    "auc": AreaUnderCurve(),
    "log_loss": LogLoss(),
    "r_squared": RSquared(),
}
