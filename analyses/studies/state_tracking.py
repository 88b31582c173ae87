"""State tracking: word problems of groups, over mixers, ranges of eigenvalues, reflections a token and layers.

Siems et al. 2025 (arXiv:2502.10297), Grazzi et al. 2025 (arXiv:2411.12537). Every model is trained on short words and tested on
long ones, with what theory says of it beside (see `allowed_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ...probe.configuration import BadSettingError, Count, Lengths
from ...probe.files import as_file_name
from ...probe.mixers import GRU, DeltaNet, GateLoop, Mamba2, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.tasks.base import generator_for
from ...probe.tasks.word_problem import WordProblem
from ..automata.allowed_and_realised import allowed_and_realised
from ..automata.allowed_groups import group_verdict
from ..automata.element_spectra import element_spectra
from ..automata.results.allowed_and_realised import AllowedAndRealised
from ..automata.results.element_spectra import ElementSpectra
from ..behaviour.accuracy_by_length import accuracy_by_length
from ..behaviour.results.accuracy_by_length import AccuracyByLength
from ..behaviour.results.training_curve import TrainingCurve
from ..behaviour.state_tracking import StateTracking
from .named_mixers import check_names


def _delta(low: float, householders: int) -> DeltaNet:
    return DeltaNet(heads=4, householders=householders, eigenvalue_range=(low, 1.0), short_convolution=0)


NAMES = (
    "decays (Mamba-2)",
    "complex gates (GateLoop)",
    "delta rule, [0, 1]",
    "delta rule, [-1, 1]",
    "two reflections, [-1, 1]",
    "cell (GRU)",
)
MIXERS: tuple[MixerConfig, ...] = (
    Mamba2(heads=4),
    GateLoop(heads=4),
    _delta(0.0, 1),
    _delta(-1.0, 1),
    _delta(-1.0, 2),
    GRU(heads=2),
)


@dataclass(frozen=True)
class StateTrackingStudy(Study, kind="state-tracking"):
    """Each mixer on each group's word problem."""

    groups: tuple[str, ...] = ("Z2", "Z3", "S3")
    """The word problems of these groups are learned: Z2 (parity), Z3, ..., S3, S4, S5, A4, A5."""
    names: tuple[str, ...] = NAMES
    """Results call the models by these names, which stand in the order of `mixers`."""
    mixers: tuple[MixerConfig, ...] = MIXERS
    """Each of these mixers is trained on each group, in a model of its own."""
    layers: tuple[Count, ...] = (1,)
    """Each mixer is trained in models of these depths."""
    training: Training = field(default_factory=lambda: Training(steps=800, batch=64, length=24, learning_rate=5e-3))
    width: Count = 64
    """The residual stream has this many channels."""
    test_lengths: Lengths = (24, 64, 128, 256)
    """Accuracy is measured on words of these lengths, in tokens."""
    sequences: Count = 64
    """Each length is tested on this many words."""

    question: ClassVar[str] = "Which groups does each mixer track at lengths it was not trained on, and which could it by theory?"
    time: ClassVar[str] = "8 min"

    def __post_init__(self) -> None:
        check_names(self.names, self.mixers)
        if not self.groups or not self.layers:
            raise BadSettingError("groups and layers need one entry at least")
        for group in self.groups:
            WordProblem(group)

    def places(self) -> dict[str, tuple[MixerConfig, int]]:
        """The models of one group by the name that results call them: their mixer and layers."""
        return {
            name if len(self.layers) == 1 else f"{name}, layers: {depth}": (mixer, depth)
            for name, mixer in zip(self.names, self.mixers, strict=True)
            for depth in self.layers
        }

    def models(self) -> Mapping[str, ModelConfig]:
        return {
            _label(group, name): ModelConfig(WordProblem(group).vocabulary, self.width, depth, mixer, seed=self.seed)
            for group in self.groups
            for name, (mixer, depth) in self.places().items()
        }

    def execute(self, run: Run) -> None:
        configs, accuracies, histories = self.models(), {}, {}
        for group in self.groups:
            models = {}
            for name in self.places():
                label, task = _label(group, name), WordProblem(group)
                models[name], histories[f"{group}, {name}"] = run.train(label, configs[label], task, self.training, self.seed)
            accuracies[group] = run.compute(
                f"accuracy_{group.lower()}",
                accuracy_by_length,
                models=models,
                task=WordProblem(group),
                lengths=self.test_lengths,
                sequences=self.sequences,
                seed=self.seed,
            )
            linear = {name: model for name, model in models.items() if model.config.mixer_of(0).allowed is not None}
            if linear:
                run.compute(f"allowed_{group.lower()}", self._allowed, models=linear, group=group)
                run.compute(f"elements_{group.lower()}", self._elements, models=linear, group=group)
        run.compute("state_tracking", self._tracking, accuracies=accuracies)
        run.compute("training", TrainingCurve.of, histories=histories)

    def verdicts(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Group -> model -> the word of theory and its reason."""
        found: dict[str, dict[str, tuple[str, str]]] = {}
        for group in self.groups:
            for name, (mixer, depth) in self.places().items():
                verdict = group_verdict((mixer,) * depth, group)
                found.setdefault(group, {})[name] = (verdict.word, verdict.reason)
        return found

    def _tracking(self, accuracies: dict[str, AccuracyByLength]) -> StateTracking:
        return StateTracking.of(accuracies, self.verdicts(), self.training.length)

    def _allowed(self, models: dict[str, Model], group: str) -> AllowedAndRealised:
        task, length = WordProblem(group), self.training.length
        return allowed_and_realised(models, task.batch(8, length, "test", generator_for(self.seed, length)).tokens)

    def _elements(self, models: dict[str, Model], group: str) -> ElementSpectra:
        return element_spectra(models, WordProblem(group), length=self.training.length, seed=self.seed)


def _label(group: str, name: str) -> str:
    """The name of a model's checkpoints."""
    return as_file_name(f"{group} {name}")


@dataclass(frozen=True)
class FullStateTrackingStudy(StateTrackingStudy, kind="state-tracking-full"):
    """The same over more groups, four reflections a token and two layers: hours on a GPU, days on a laptop."""

    groups: tuple[str, ...] = ("Z2", "Z3", "Z5", "S3", "A4", "S4", "A5", "S5")
    names: tuple[str, ...] = (*NAMES, "two reflections, [0, 1]", "four reflections, [-1, 1]")
    mixers: tuple[MixerConfig, ...] = (*MIXERS, _delta(0.0, 2), _delta(-1.0, 4))
    layers: tuple[Count, ...] = (1, 2)
    training: Training = field(default_factory=lambda: Training(steps=20_000, batch=512, length=128, learning_rate=1e-3))
    width: Count = 128
    test_lengths: Lengths = (128, 256, 512)
    sequences: Count = 256

    question: ClassVar[str] = "The state-tracking study over all groups, with one layer and two."
    time: ClassVar[str] = "a day on a GPU"
