"""What an estimator is: a description of probes, which it fits to many targets of one set of features at once."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..captures.capture import labelled
from ..captures.stored import CHUNK, Features, subset
from ..configuration import Configuration
from ..errors import CannotFitError
from ..plugins import Kinds
from ..statistics.groups import sources_of
from ..statistics.metrics import Metric
from .standardisation import of_width, real

K = TypeVar("K", bound=Hashable)


class Probe(ABC):
    """A probe that has been fitted.

    penalty: the one that was chosen; nan where there was nothing to choose. validation: the estimator's score of that choice on
    held-out samples of the training data, which was there to choose by and is no test.
    """

    penalty: float = nan
    validation: float = nan

    @abstractmethod
    def predict(self, features: Tensor) -> Tensor:
        """The class, or the number, of each of features [n, D]: [n]. Raises ValueError for samples with nan or infinity."""

    def log_probabilities(self, features: Tensor) -> Tensor | None:
        """The log-probability in nats of each class, [n, classes], in the order of `classes`; None where the probe gives none."""
        return None

    def chosen(self, penalty: float, validation: float) -> Self:
        """The same probe, which says by which penalty it was fitted, and the score of that choice."""
        found = copy.copy(self)
        vars(found).update(penalty=penalty, validation=validation)  # whether or not its class has fields for them
        return found

    @property
    def parameters(self) -> int:
        """How many numbers it was fitted by: the entries of its tensors, but for the names of the classes."""
        return sum(value.numel() for name, value in vars(self).items() if isinstance(value, Tensor) and name != "labels")

    @property
    def classes(self) -> Tensor:
        """The classes it tells apart, ascending."""
        raise NotImplementedError(f"{type(self).__name__} has no classes")


class ScoredProbe(Probe):
    """Base of the probes that give each class a score, and answer the class of the highest one; or a number.

    The softmax of the scores are the probabilities. labels: the classes in the order of the scores; None of a probe of a number.
    """

    labels: Tensor | None

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """The score of each class for features [n, D]: [n, C], or [n, 1] for a number."""

    @property
    def classes(self) -> Tensor:
        if self.labels is None:
            raise ValueError("this probe gives numbers and has no classes")
        return self.labels

    def predict(self, features: Tensor) -> Tensor:
        scores = self.scores(features)
        if not bool(scores.isfinite().all()):
            flawed = int((~scores.isfinite()).any(1).nonzero()[0, 0])
            raise ValueError(f"features must be finite; the scores of sample {flawed} are not: leave it out, or mend it")
        return scores[:, 0] if self.labels is None else self.labels[scores.argmax(1)]

    def log_probabilities(self, features: Tensor) -> Tensor | None:
        return None if self.labels is None else self.scores(features).log_softmax(1)


@dataclass(frozen=True)
class LinearProbe(ScoredProbe):
    """A linear map of the activations as they are.

    weights: [C, D], one row a class, or [1, D] for a number. intercepts: [C]. labels: the C classes; None for a number.
    """

    weights: Tensor
    intercepts: Tensor
    labels: Tensor | None
    penalty: float = nan
    validation: float = nan
    has_probabilities: bool = False

    __repr__ = with_shapes

    @property
    def contrast(self) -> Tensor:
        """What is looked along to tell the last of two classes from the first, or a number: [D], in the activation's units."""
        return self.weights[-1] - self.weights[0] if len(self.weights) > 1 else self.weights[0]

    def scores(self, features: Tensor) -> Tensor:
        """Compute W x + b for features [n, D]: [n, C], a score of each class, or [n, 1] for a number."""
        of_width(features, self.weights.shape[1])
        return real(features).to(self.weights) @ self.weights.T + self.intercepts

    def log_probabilities(self, features: Tensor) -> Tensor | None:
        return super().log_probabilities(features) if self.has_probabilities else None


@dataclass(frozen=True)
class Estimator(Configuration, Kinds, family="estimator"):
    """Base of the estimators.

    metric: what its probes are scored by; it also says whether targets are classes or numbers. has_probabilities: whether its
    probes give log-probabilities, so that they have a code length. streams: whether it takes features that are read a part at a
    time (`StoredFeatures`), and holds no more of them than a part.
    """

    metric: ClassVar[Metric]
    has_probabilities: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    @abstractmethod
    def fit_many(self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor) -> dict[K, Probe]:
        """Fit a probe to each target; whatever there is to choose is chosen inside these samples.

        features [N, D], finite; targets: name -> [N], each with two values at least; groups [N]: the source of each sample, which
        no fold splits. Raises CannotFitError where these samples do not do for any target, TypeError for complex features.
        """

    def fit(self, features: Tensor, target: Tensor, groups: Tensor | None = None) -> Probe:
        """Fit a probe to one target [N]; groups: see `fit_many`, each sample a source of its own when None.

        Raises ValueError for a target of another shape and for samples without one (-100, or nan), CannotFitError for a target
        that is the same for all samples; otherwise as `fit_many`.
        """
        if features.ndim != 2 or target.shape != (len(features),):
            raise ValueError(f"features are [N, D] and a target is [N]; got {tuple(features.shape)} and {tuple(target.shape)}")
        if not bool(labelled(target).all()):
            raise ValueError("the target has samples without a label (-100, or nan); leave them out")
        if (flaw := self.metric.flaw(target)) is not None:
            raise CannotFitError(f"{self.kind} cannot be fitted to a target of {flaw}")
        return self.fit_many(features, {"target": target}, sources_of(groups, len(features)))["target"]

    def fit_linear(self, features: Tensor, target: Tensor, groups: Tensor | None = None) -> LinearProbe:
        """The same of an estimator whose probes are linear. Raises TypeError for another."""
        probe = self.fit(features, target, groups)
        if not isinstance(probe, LinearProbe):
            raise TypeError(f"{self.kind} fits no linear probe, which has a direction")
        return probe

    def cross_predict(
        self, features: Tensor, targets: Mapping[K, Tensor], groups: Tensor, folds: Sequence[Tensor]
    ) -> dict[K, Tensor]:
        """What probes answer to samples that they have not seen: name -> [N].

        folds: masks [N] of the held-out samples. For each, probes are fitted to the others, and all is chosen inside those.
        Where they have one value alone, it is the answer.
        """
        answers = {name: self.no_answers(target) for name, target in targets.items()}
        for rows, seen, probes in self.fit_without(features, targets, groups, folds):
            for name, own in answers.items():
                found = predicted(probes[name], features, rows) if name in probes else seen[name][0]
                own[rows] = found.to(own)
        return answers

    def fit_without(
        self, features: Features, targets: Mapping[K, Tensor], groups: Tensor, folds: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, dict[K, Tensor], dict[K, Probe]]]:
        """For each fold its rows [n], the targets of the other samples, and the probes that are fitted to those.

        Arguments: as of `cross_predict`. A target that cannot be fitted, as where it has one value alone, has no probe.
        """
        for held_out in folds:
            seen = {name: target[~held_out] for name, target in targets.items()}
            able = {name: target for name, target in seen.items() if self.metric.flaw(target) is None}
            others: Any = subset(features, ~held_out)  # stored features, where it streams
            yield held_out.nonzero()[:, 0], seen, self.fit_many(others, able, groups[~held_out]) if able else {}

    def inputs(self, features: int) -> int:
        """How many inputs its probes have, of activations of so many features."""
        return features

    def no_answers(self, target: Tensor) -> Tensor:
        """Room for the answers to a target [N]: its classes, or real numbers also where the target's are whole."""
        return torch.empty_like(target, dtype=target.dtype if self.metric.of_classes else torch.float64)


def predicted(probe: Probe, features: Features, index: Tensor) -> Tensor:
    """What a probe answers to some rows of features, which are read a part at a time where they are stored."""
    if isinstance(features, Tensor):
        return probe.predict(features[index])
    return torch.cat([probe.predict(features[part]) for part in index.split(CHUNK)])
