"""Mixers side by side on one task, trained alike, tested at lengths they were trained on and beyond."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from ...probe.configuration import Count, Lengths
from ...probe.files import as_file_name
from ...probe.mixers import DeltaNet, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.tasks.base import Task
from ...probe.tasks.parity import Parity
from ..behaviour.accuracy_by_length import accuracy_by_length
from ..behaviour.error_by_position import error_by_position
from ..behaviour.results.training_curve import TrainingCurve
from .named_mixers import check_names


@dataclass(frozen=True)
class Comparison(Study, kind="comparison"):
    """Train one model for each mixer on the same task, and compare them."""

    name: str = "comparison"
    """The name of the run folder begins with this."""
    names: tuple[str, ...] = ("DeltaNet",)
    """Results call the models by these names, which stand in the order of `mixers`."""
    mixers: tuple[MixerConfig, ...] = (DeltaNet(),)
    """Each of these mixers is compared, in a model of its own."""
    task: Task = field(default_factory=Parity)
    """This is the task that all models learn."""
    training: Training = field(default_factory=Training)
    width: Count = 64
    """The residual stream has this many channels."""
    layers: Count = 1
    """Each model has this many layers."""
    test_lengths: Lengths = (40,)
    """Accuracy is measured at these lengths in tokens; on a task of real numbers, the error is measured at the longest."""
    sequences: Count = 128
    """Each length is tested on this many sequences."""

    question: ClassVar[str] = "Which mixer learns this task, and at which lengths does it still hold?"
    time: ClassVar[str] = "1 min"

    def __post_init__(self) -> None:
        check_names(self.names, self.mixers)

    @property
    def run_name(self) -> str:
        return f"{self.name}-seed{self.seed}"

    def models(self) -> dict[str, ModelConfig]:
        config = partial(ModelConfig, self.task.vocabulary, self.width, self.layers, inputs=self.task.inputs, seed=self.seed)
        return {name: config(mixer) for name, mixer in zip(self.names, self.mixers, strict=True)}

    def execute(self, run: Run) -> None:
        models, histories = {}, {}
        for name, config in self.models().items():
            models[name], histories[name] = run.train(as_file_name(name), config, self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories=histories, real=bool(self.task.inputs))
        measured = {"models": models, "task": self.task, "sequences": self.sequences, "seed": self.seed}
        if self.task.inputs:
            run.compute("error_by_position", error_by_position, length=max(self.test_lengths), **measured)
        else:
            run.compute("accuracy_by_length", accuracy_by_length, lengths=self.test_lengths, **measured)
