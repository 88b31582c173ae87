"""Probes over many hooks, positions and labels at once, with the evidence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ..captures.capture import Capture, labelled
from ..captures.stored import in_memory, subset
from ..configuration import BadSettingError, Configuration, Count, Natural
from ..errors import CannotFitError
from ..statistics.controls import ControlTask
from ..statistics.evidence import Answers, Evidence, ProbingTask
from ..statistics.groups import group_folds
from ..statistics.metrics import METRICS, Metric
from ..statistics.scores import ProbeScores
from .answer_form import AnswerForm, cross_answers
from .code_length import code_lengths
from .estimator import Estimator, Probe
from .fitted_probes import FittedProbe, FittedProbes, Target, places
from .ridge import Ridge


@dataclass(frozen=True)
class ProbeSweep(Configuration):
    """Fit one probe for each hook, position and label, and for each label's control task.

    Samples that say they lack a label (-100, or nan) are left out for that label. Where a probe cannot be fitted, as where a
    label has one value at a position, its row of the result says why, and the others stand.
    """

    estimator: Estimator = Ridge()
    """This is fitted, with its penalties; a name such as "logistic" stands for that estimator with its defaults."""
    metric: Literal["of_estimator", "accuracy", "balanced_accuracy", "auc", "log_loss", "r_squared"] = "of_estimator"
    """Held-out answers, controls and nulls are scored by this; a penalty is chosen by the estimator's own metric."""
    by_position: bool = False
    """Fit a probe for each position instead of one for all."""
    control_context: Count = 1
    """The control task gives each sample a random label that depends on its last so many tokens."""
    resamples: Count = 1000
    """The bootstrap over groups draws this many resamples for the intervals."""
    permutations: Natural = 199
    """The p-value is found from this many permutations of labels between groups; 0 leaves it out."""
    code_length: bool = True
    """Measure the online code length too, if the estimator's probes give probabilities; it costs four more fits."""
    seed: int = 0
    """Control tasks, resamples, permutations and outer folds are drawn from this seed."""

    def __post_init__(self) -> None:
        if self.scoring.of_classes != self.estimator.metric.of_classes:
            wanted = "classes" if self.scoring.of_classes else "numbers"
            raise BadSettingError(f"the metric {self.metric} is of {wanted}, which {self.estimator.kind} does not answer")
        if self.scoring.needs_probabilities and not self.estimator.has_probabilities:
            raise BadSettingError(f"the metric {self.metric} needs probabilities, which {self.estimator.kind} does not give")

    @property
    def scoring(self) -> Metric:
        """What answers are scored by."""
        return self.estimator.metric if self.metric == "of_estimator" else METRICS[self.metric]

    def run(
        self,
        train: Capture,
        test: Capture,
        *,
        hooks: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        same_groups: bool = False,
    ) -> ProbeScores:
        """Fit on one capture and score on another, whose groups must be others; see `FittedProbes.score`."""
        return self.fit(train, hooks=hooks, labels=labels).score(test, same_groups=same_groups)

    def fit(self, train: Capture, *, hooks: Sequence[str] | None = None, labels: Sequence[str] | None = None) -> FittedProbes:
        """Fit the probes. hooks, labels: those of the capture when None.

        Raises UnknownNameError for others, TypeError for real labels that an estimator of classes is to tell apart, and
        ValueError where no probe at all can be fitted.
        """
        by_task: dict[ProbingTask, FittedProbe] = {}
        for part in self._parts(train, hooks, labels):
            probes: dict[Target, Probe] = {}
            flaw: tuple[str, ...] = ()
            try:
                probes = self.estimator.fit_many(part.features, part.targets, part.groups) if part.targets else {}
            except CannotFitError as error:
                flaw = (f"cannot be fitted: {error}",)
            lengths = self._code_lengths(part) if probes else {}
            for label in part.labels:
                by_task[ProbingTask(part.hook, part.position, label)] = FittedProbe(
                    probes.get(Target(label, False)),
                    probes.get(Target(label, True)),
                    part.tasks.get(label),
                    part.truth[label],
                    part.targets.get(Target(label, True)),
                    self.estimator.inputs(part.features.shape[1]),
                    lengths.get(label, float("nan")),
                    (*part.notes[label], *flaw),
                )
        if all(fitted.probe is None for fitted in by_task.values()):
            reasons = dict.fromkeys(f"{task.label!r}: {'; '.join(fitted.notes)}" for task, fitted in by_task.items())
            raise ValueError(f"no probe can be fitted to this training capture; {', '.join(reasons)}")
        return FittedProbes(self, by_task, train)

    def cross_validate(
        self,
        capture: Capture,
        *,
        folds: int = 5,
        hooks: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        model: str = "model",
    ) -> ProbeScores:
        """Score on every sample of one capture, each by a probe that was fitted to the groups of the other folds.

        The penalty is chosen anew inside the other folds. folds: how many, which hold whole groups.
        """
        evidence = Evidence(self.scoring, self.resamples, self.permutations, self.seed)
        rows = []
        for part in self._parts(capture, hooks, labels):
            answers: dict[Target, Tensor] = {}
            flaw: tuple[str, ...] = ()
            parting: list[Tensor] = []
            forms = {name: AnswerForm(self.scoring, values.unique()) for name, values in part.truth.items()}
            try:
                parting = group_folds(part.groups, folds, self.seed)
                own = {target: forms[target.label] for target in part.targets}
                answers = cross_answers(self.estimator, part.features, part.targets, part.groups, parting, own) if own else {}
            except CannotFitError as error:
                flaw = (f"cannot be fitted: {error}",)
            lengths = self._code_lengths(part) if answers else {}
            for label in part.labels:
                truth, notes = part.truth[label], (*part.notes[label], *flaw)
                guess, control = (answers.get(Target(label, is_control)) for is_control in (False, True))
                drawn, form = part.targets.get(Target(label, True)), forms[label]
                baseline = _baselines(form, truth, parting)
                found = Answers(
                    guess,
                    form.truths(truth),
                    control,
                    None if drawn is None else form.truths(drawn),
                    baseline,
                    baseline if drawn is None else _baselines(form, drawn, parting),
                    part.groups,
                )
                about = {
                    "penalty": float("nan"),
                    "validation": float("nan"),
                    "features": self.estimator.inputs(part.features.shape[1]),
                }
                about |= {"code_length": lengths.get(label, float("nan")), "parameters": float("nan")}
                about |= {"fitted_samples": len(truth) * (1 - 1 / len(parting)) if parting else float("nan")}
                rows.append(evidence.row(model, ProbingTask(part.hook, part.position, label), found, notes) | about)
        return ProbeScores.of(rows, self.about | {"test_groups": len(capture.groups.unique()), "folds": folds})

    def _code_lengths(self, part: _Part) -> dict[str, float]:
        """Bits a sample of each label's online code, where the estimator's probes give probabilities."""
        if not self.code_length or not self.estimator.has_probabilities:
            return {}
        own = {target.label: values for target, values in part.targets.items() if not target.control}
        return code_lengths(self.estimator, part.features, own, part.groups, self.seed)

    @property
    def about(self) -> dict[str, Any]:
        """How scores are measured, as results say it."""
        count = self.control_context
        return {
            "estimator": self.estimator.kind,
            "control": f"a random label for each context of {count} token{'s' if count > 1 else ''}",
            "interval": "95%, bootstrap over groups",
            "null": f"{self.permutations} permutations of the labels between groups",
        }

    def _parts(self, capture: Capture, hooks: Sequence[str] | None, labels: Sequence[str] | None) -> Iterator[_Part]:
        """What is fitted together: the labels that the same samples of one hook and position have."""
        names = list(capture.labels) if labels is None else list(labels)
        known = {name: capture.label(name) for name in names}
        for name, values in known.items():
            if self.estimator.metric.of_classes and values.is_floating_point():
                raise TypeError(
                    f"the label {name!r} is a real number, and {self.estimator.kind} tells classes apart; take a regression, "
                    'such as estimator="ridge_regression", or make whole numbers of it'
                )
        contexts = None if capture.tokens.is_floating_point() else capture.contexts(self.control_context)
        for hook in capture.hooks if hooks is None else hooks:
            features = capture.sample_features(hook)
            features = features if self.estimator.streams else in_memory(features)
            for position, rows in places(capture, self.by_position):
                by_samples: dict[bytes, list[str]] = {}
                for name, values in known.items():
                    by_samples.setdefault(labelled(values[rows]).numpy().tobytes(), []).append(name)
                for own in by_samples.values():
                    held = rows[labelled(known[own[0]][rows])]
                    missing = len(rows) - len(held)
                    yield self._part(
                        hook,
                        position,
                        subset(features, held),
                        {name: known[name][held] for name in own},
                        capture.sample_groups[held],
                        None if contexts is None else contexts[held],
                        (f"{missing} training samples without the label left out",) if missing else (),
                    )

    def _part(
        self,
        hook: str,
        position: int,
        features: Any,  # a tensor, or StoredFeatures for an estimator that streams
        truth: dict[str, Tensor],
        groups: Tensor,
        contexts: Tensor | None,
        said: tuple[str, ...],
    ) -> _Part:
        metric = self.estimator.metric
        targets: dict[Target, Tensor] = {}
        tasks, notes = {}, dict.fromkeys(truth, said)
        for name, values in truth.items():
            flaw = metric.flaw(values) if len(values) else "no sample has the label"
            if flaw is not None:
                notes[name] += (f"cannot be fitted: {flaw}",)
                continue
            targets[Target(name, False)] = values
            if contexts is None:
                notes[name] += ("the control is undefined: the inputs are real numbers, no two of which are alike",)
                continue
            task = ControlTask.of(values, self.seed)
            drawn = task.labels(contexts)
            if metric.flaw(drawn) is not None:
                notes[name] += (f"the control is undefined: its {len(contexts.unique(dim=0))} contexts drew one value",)
                continue
            tasks[name], targets[Target(name, True)] = task, drawn
        return _Part(hook, position, features, truth, targets, tasks, groups, notes)


@dataclass(frozen=True)
class _Part:
    """Samples of one hook and position with all the targets they have, labels that cannot be fitted left out of `targets`."""

    hook: str
    position: int
    features: Any  # a tensor, or StoredFeatures for an estimator that streams
    truth: Mapping[str, Tensor]
    targets: Mapping[Target, Tensor]
    tasks: Mapping[str, ControlTask]
    groups: Tensor
    notes: Mapping[str, tuple[str, ...]]

    @property
    def labels(self) -> list[str]:
        return list(self.truth)


def _baselines(form: AnswerForm, target: Tensor, folds: Sequence[Tensor]) -> Tensor:
    """For each sample, what the samples of other folds answer without activations, [n] or [n, C]."""
    found = form.baselines(None, len(target)).clone()
    for held_out in folds:
        found[held_out] = form.baselines(target[~held_out], int(held_out.sum()))
    return found
