"""Probes over many hooks, positions and labels at once, with their controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from ..captures.capture import Capture
from ..errors import unknown_name
from ..statistics.controls import control_labels, group_bootstrap, group_folds, majority_accuracy
from ..statistics.scores import ProbeScores
from .linear_models import LinearModels, LogisticModels, RidgeModels

MODELS: dict[str, type[LinearModels]] = {"ridge": RidgeModels, "logistic": LogisticModels}


class Target(NamedTuple):
    """A label to probe, or its control task."""

    label: str
    control: bool


@dataclass(frozen=True)
class ProbeSweep:
    """Fit one linear probe for each hook, position and label, and for each label's control task.

    estimator: "ridge" (one eigendecomposition a hook serves all labels and penalties) or "logistic" (multinomial, by
        scikit-learn).
    penalties: tried by grouped cross-validation on the training samples; relative to their number.
    folds: of that cross-validation. by_position: a probe for each position instead of one for all.
    control_context: the control task labels each sample by its last so many tokens.
    resamples: of the bootstrap over groups for the intervals.
    """

    estimator: Literal["ridge", "logistic"] = "ridge"
    penalties: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: int = 4
    by_position: bool = False
    control_context: int = 1
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.estimator not in MODELS:
            raise unknown_name("estimator", self.estimator, MODELS)

    def run(
        self, train: Capture, test: Capture, *, hooks: Sequence[str] | None = None, labels: Sequence[str] | None = None
    ) -> ProbeScores:
        """Fit on one capture and score on another, whose groups (files, documents) must be others."""
        return self.fit(train, hooks=hooks, labels=labels).score(test)

    def fit(self, train: Capture, *, hooks: Sequence[str] | None = None, labels: Sequence[str] | None = None) -> FittedProbes:
        """Fit the probes. hooks, labels: those of the capture when None. Raises UnknownNameError for others."""
        labels = list(train.labels) if labels is None else list(labels)
        known = {name: train.label(name) for name in labels}
        for name, values in known.items():
            if len(values.unique()) < 2:
                raise ValueError(f"the label {name!r} has one value only in the training capture; a probe needs two")
        contexts = train.contexts(self.control_context)
        targets = {Target(name, False): values for name, values in known.items()}
        targets |= {Target(name, True): control_labels(contexts, values, self.seed) for name, values in known.items()}
        # A random control can hit one class only; then it says nothing and is left out.
        targets = {target: values for target, values in targets.items() if len(values.unique()) > 1}
        probes = {}
        for hook in train.hooks if hooks is None else hooks:
            features = train.features(hook)
            for position, rows in _samples(train, self.by_position):
                own = {target: values[rows] for target, values in targets.items()}
                probes[hook, position] = self._fit_one(features[rows], own, train.sample_groups[rows])
        return FittedProbes(self, probes, train, known)

    def _fit_one(self, features: Tensor, targets: dict[Target, Tensor], groups: Tensor) -> FittedProbe:
        models = MODELS[self.estimator]
        right = {target: np.zeros(len(self.penalties)) for target in targets}
        for held_out in group_folds(groups, self.folds, self.seed):
            fitted = models(features[~held_out], {t: y[~held_out] for t, y in targets.items()})
            for index, penalty in enumerate(self.penalties):
                for target, guess in fitted.predict(features[held_out], penalty).items():
                    right[target][index] += float((guess == targets[target][held_out]).sum())
        # Of equally good penalties the largest is the simplest probe.
        best = {target: self.penalties[len(counts) - 1 - int(np.argmax(counts[::-1]))] for target, counts in right.items()}
        return FittedProbe(models(features, targets), best)


@dataclass(frozen=True)
class FittedProbe:
    """The probes of one hook: a model of all targets, and the penalty of each."""

    models: LinearModels
    penalties: dict[Target, float]

    def predict(self, features: Tensor) -> dict[Target, Tensor]:
        """The label each probe gives to features [n, D]."""
        by_penalty = {penalty: self.models.predict(features, penalty) for penalty in set(self.penalties.values())}
        return {target: by_penalty[penalty][target] for target, penalty in self.penalties.items()}


@dataclass(frozen=True)
class FittedProbes:
    """The probes of a sweep: (hook, position, or -1 for all positions) -> probe."""

    sweep: ProbeSweep
    probes: dict[tuple[str, int], FittedProbe]
    train: Capture
    labels: dict[str, Tensor]

    def predict(self, capture: Capture, hook: str, label: str, position: int = -1) -> Tensor:
        """The predicted label of each sample of a capture (of those at `position`, for probes by position)."""
        rows = dict(_samples(capture, position >= 0))[position]
        return self._probe(hook, label, position).predict(capture.features(hook)[rows])[Target(label, False)]

    def weights(self, hook: str, label: str, position: int = -1) -> tuple[Tensor, Tensor]:
        """The probe on the activations as they are: weights [classes, features], intercepts [classes]."""
        probe, target = self._probe(hook, label, position), Target(label, False)
        return probe.models.linear(target, probe.penalties[target])

    def _probe(self, hook: str, label: str, position: int) -> FittedProbe:
        if (hook, position) not in self.probes:
            raise unknown_name("probed hook", hook, sorted({name for name, _ in self.probes}))
        if label not in self.labels:
            raise unknown_name("probed label", label, self.labels)
        return self.probes[hook, position]

    def score(self, test: Capture, model: str = "model") -> ProbeScores:
        """Accuracy on held-out samples beside majority baseline and control task, with intervals over groups.

        model: its name in the table.
        """
        context = self.sweep.control_context
        truth = {Target(name, False): test.label(name) for name in self.labels}
        truth |= {
            Target(name, True): control_labels(test.contexts(context), values, self.sweep.seed)
            for name, values in self.labels.items()
        }
        rows = []
        for (hook, position), probe in self.probes.items():
            samples = dict(_samples(test, position >= 0))[position]
            features, groups = test.features(hook)[samples], test.sample_groups[samples].numpy()
            guesses = probe.predict(features)
            correct = {target: (guess == truth[target][samples]).double().numpy() for target, guess in guesses.items()}
            for label, values in self.labels.items():
                intervals = [self._interval(correct.get(Target(label, control)), groups) for control in (False, True)]
                (accuracy, low, high), (control, control_low, control_high) = intervals
                about = {"model": model, "hook": hook, "layer": _layer(hook), "site": hook.split(".")[-1].removeprefix("hook_")}
                about |= {"position": position, "label": label, "classes": len(values.unique())}
                about |= {"accuracy": accuracy, "low": low, "high": high}
                about |= {"majority": majority_accuracy(values, truth[Target(label, False)][samples])}
                about |= {"control": control, "control_low": control_low, "control_high": control_high}
                about |= {"selectivity": accuracy - control, "penalty": probe.penalties[Target(label, False)]}
                rows.append(about | {"features": features.shape[1], "samples": len(features)})
        return ProbeScores(
            pd.DataFrame(rows),
            {
                "estimator": self.sweep.estimator,
                "training_samples": len(self.train.sample_groups),
                "training_groups": len(self.train.groups.unique()),
                "test_groups": len(test.groups.unique()),
                "control": f"a random label for each context of {context} token{'s' if context > 1 else ''}",
                "interval": "95%, bootstrap over groups",
            },
        )

    def _interval(self, correct: Any, groups: Any) -> tuple[float, float, float]:
        if correct is None:
            return (np.nan,) * 3
        return (float(correct.mean()), *group_bootstrap(correct, groups, self.sweep.resamples, self.sweep.seed))


def _samples(capture: Capture, by_position: bool) -> list[tuple[int, Any]]:
    if not by_position:
        return [(-1, slice(None))]
    count = len(capture.positions)
    return [(position, slice(index, None, count)) for index, position in enumerate(capture.positions)]


def _layer(hook: str) -> int:
    return int(hook.split(".")[1]) if hook.startswith("blocks.") else -1
