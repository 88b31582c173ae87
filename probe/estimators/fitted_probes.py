"""Fitted probes by their task: what they predict, and how they score on other captures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pandas as pd
import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..captures.capture import Capture, labelled
from ..captures.stored import CHUNK, Features
from ..errors import StatescopeError, unknown_name
from ..statistics.calibration import Calibration
from ..statistics.controls import ControlTask
from ..statistics.evidence import Answers, Evidence, ProbingTask
from ..statistics.metrics import Metric
from ..statistics.reliability import calibration_rows
from ..statistics.scores import ProbeScores
from .answer_form import AnswerForm
from .estimator import Estimator, Probe

EVERYWHERE = -1  # the position of a probe for all positions


class SharedGroupsError(StatescopeError, ValueError):
    """Sources that probes were fitted on are among those they are tested on."""


class Settings(Protocol):
    """What scores need to know of the sweep that the probes were fitted in."""

    @property
    def estimator(self) -> Estimator: ...

    @property
    def scoring(self) -> Metric: ...

    @property
    def control_context(self) -> int: ...

    @property
    def resamples(self) -> int: ...

    @property
    def permutations(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def about(self) -> dict[str, Any]: ...


class Target(NamedTuple):
    """A label to probe, or its control task."""

    label: str
    control: bool


@dataclass(frozen=True)
class FittedProbe:
    """The probe of a probing task and that of its control task; None where it could not be fitted, and `notes` say why.

    control_task: the labels of the control. truth, control_truth: the labels that were fitted, [N]. features: its
    inputs. code_length: bits a sample of the training labels' online code; nan without probabilities.
    """

    probe: Probe | None
    control: Probe | None
    control_task: ControlTask | None
    truth: Tensor
    control_truth: Tensor | None
    features: int
    code_length: float
    notes: tuple[str, ...]

    __repr__ = with_shapes

    @property
    def about(self) -> dict[str, float]:
        """What a row of `ProbeScores` says of the fit."""
        nan, chosen = float("nan"), self.probe
        return {
            "penalty": nan if chosen is None else chosen.penalty,
            "validation": nan if chosen is None else chosen.validation,
            "features": self.features,
            "code_length": self.code_length,
            "parameters": nan if chosen is None else float(chosen.parameters),
            "fitted_samples": float(len(self.truth)),
        }


@dataclass(frozen=True)
class FittedProbes:
    """The probes of a sweep by their tasks."""

    sweep: Settings
    by_task: Mapping[ProbingTask, FittedProbe]
    train: Capture

    @property
    def hooks(self) -> list[str]:
        """The hooks that have probes, in order."""
        return list(dict.fromkeys(task.hook for task in self.by_task))

    def has(self, hook: str, label: str, position: int = EVERYWHERE) -> bool:
        """Whether there is a probe of this label there."""
        fitted = self.by_task.get(ProbingTask(hook, position, label))
        return fitted is not None and fitted.probe is not None

    def training_rows(self, task: ProbingTask) -> Tensor:
        """The samples of the training capture that a task's probe was fitted to, in the order of its labels."""
        here = dict(places(self.train, task.position != EVERYWHERE))[task.position]
        return here[labelled(self.train.label(task.label)[here])]

    def predict(self, capture: Capture, hook: str, label: str, position: int = EVERYWHERE) -> Tensor:
        """The predicted label of each sample of a capture (of those at `position`, for probes by position)."""
        rows = dict(places(capture, position != EVERYWHERE))[position]
        return self.probe(hook, label, position).predict(capture.features(hook)[rows])

    def probe(self, hook: str, label: str, position: int = EVERYWHERE) -> Probe:
        """The probe of a label there. Raises UnknownNameError for what was not probed, ValueError where none could be fitted."""
        if hook not in self.hooks:
            raise unknown_name("probed hook", hook, self.hooks)
        names = [task.label for task in self.by_task if task.hook == hook]
        if label not in names:
            raise unknown_name("probed label", label, dict.fromkeys(names))
        places = [task.position for task in self.by_task if task.hook == hook and task.label == label]
        if position not in places:
            raise unknown_name("probed position", str(position), map(str, places))
        fitted = self.by_task[ProbingTask(hook, position, label)]
        if fitted.probe is None:
            raise ValueError(f"{label} at {hook}, position {position}: {'; '.join(fitted.notes)}")
        return fitted.probe

    def score(self, test: Capture, model: str = "model", *, same_groups: bool = False) -> ProbeScores:
        """Score the probes on held-out samples beside majority and control task, with intervals and a null over groups.

        model: its name in the table. Raises SharedGroupsError for groups that the probes were fitted on, which `same_groups=True`
        allows: the scores are then no held-out scores.
        """
        self._refuse_shared(test, same_groups)
        contexts = None if test.tokens.is_floating_point() else test.contexts(self.sweep.control_context)
        evidence = Evidence(self.sweep.scoring, self.sweep.resamples, self.sweep.permutations, self.sweep.seed)
        rows = []
        for task, fitted, features, held, left_out in self._tested(test):
            notes = (*fitted.notes, *((f"{left_out} test samples without the label left out",) if left_out else ()))
            found = self._answers(fitted, features, held, test, task.label, contexts)
            rows.append(evidence.row(model, task, found, notes) | fitted.about)
        about = {
            "training_samples": len(self.train.sample_groups),
            "training_groups": len(self.train.groups.unique()),
            "test_groups": len(test.groups.unique()),
        }
        return ProbeScores.of(rows, self.sweep.about | about)

    def calibration(self, test: Capture, model: str = "model", *, bins: int = 10, same_groups: bool = False) -> Calibration:
        """How often the probes are right by how sure they say they are, on held-out samples, in `bins` of equally many.

        A sample of a class that the probe was not fitted to counts as wrong. model, same_groups: as of `score`. Raises TypeError
        for an estimator whose probes give no probabilities.
        """
        self._refuse_shared(test, same_groups)
        rows = []
        for task, fitted, features, held, _ in self._tested(test):
            if fitted.probe is None or not len(held):
                continue
            found = [fitted.probe.log_probabilities(features[part]) for part in held.split(CHUNK)]
            if any(part is None for part in found):
                raise TypeError(f"{self.sweep.estimator.kind} gives no probabilities, whose calibration could be measured")
            truth = (test.label(task.label)[held][:, None] == fitted.probe.classes).long()
            index = torch.where(truth.any(1), truth.argmax(1), -1)
            probabilities = torch.cat([part for part in found if part is not None]).double().exp()
            where = {"model": model, "hook": task.hook, "position": task.position, "label": task.label}
            rows += calibration_rows(
                probabilities.numpy(),
                index.numpy(),
                test.sample_groups[held].numpy(),
                bins,
                self.sweep.resamples,
                self.sweep.seed,
                where,
            )
        if not rows:
            raise ValueError("no probe was fitted that this capture has samples for; there is nothing to calibrate")
        return Calibration(pd.DataFrame(rows), {"estimator": self.sweep.estimator.kind, "bins": bins})

    def _tested(self, test: Capture) -> Iterator[tuple[ProbingTask, FittedProbe, Features, Tensor, int]]:
        """Each task with its probes, the features of its hook, the samples [n] that have its label, and how many lack it."""
        features = {hook: test.sample_features(hook) for hook in self.hooks}
        kinds = {task.position != EVERYWHERE for task in self.by_task}
        found_at = {by_position: dict(places(test, by_position)) for by_position in kinds}
        for task, fitted in self.by_task.items():
            here = found_at[task.position != EVERYWHERE].get(task.position, torch.empty(0, dtype=torch.long))
            held = here[labelled(test.label(task.label)[here])]
            yield task, fitted, features[task.hook], held, len(here) - len(held)

    def _answers(
        self, fitted: FittedProbe, features: Features, rows: Tensor, test: Capture, label: str, contexts: Tensor | None
    ) -> Answers:
        """What a probe and its control answer to some samples of a capture, beside what is true. contexts: of all samples."""
        truth, control_task = test.label(label)[rows], None if contexts is None else fitted.control_task
        form = AnswerForm(self.sweep.scoring, torch.cat([fitted.truth, truth]).unique())

        def answers(probe: Probe | None) -> Tensor | None:
            return None if probe is None or not len(rows) else form.answers(probe, features, rows, len(fitted.truth))

        return Answers(
            answers(fitted.probe),
            form.truths(truth),
            None if control_task is None else answers(fitted.control),
            None if control_task is None or contexts is None else form.truths(control_task.labels(contexts[rows])),
            form.baselines(fitted.truth, len(rows)),
            form.baselines(fitted.control_truth, len(rows)),
            test.sample_groups[rows],
        )

    def _refuse_shared(self, test: Capture, same_groups: bool) -> None:
        shared = torch.isin(test.groups, self.train.groups)
        if bool(shared.any()) and not same_groups:
            raise SharedGroupsError(
                f"{len(test.groups[shared].unique())} of {len(test.groups.unique())} groups of the test capture are in the "
                "training capture too, so that scores would not be held out; capture other sources (files, sequences), or pass "
                "same_groups=True to score them all the same"
            )


def places(capture: Capture, by_position: bool) -> list[tuple[int, Tensor]]:
    """List (position, index of its samples): one for each position, or all under -1."""
    positions = capture.sample_positions
    if not by_position:
        return [(EVERYWHERE, torch.arange(len(positions)))]
    return [(position, (positions == position).nonzero()[:, 0]) for position in positions.unique().tolist()]
