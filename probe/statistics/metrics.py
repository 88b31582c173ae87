"""What a probe is scored by, as a ratio of sums over samples, so that whole groups can be resampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Metric(ABC):
    """A held-out score of guesses against the truth: a function of (sum of numerators) / (sum of denominators).

    name: as tables show it. of_classes: whether targets are classes, or numbers.
    """

    name: str
    of_classes: bool

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
