"""How long states remember: measured by disturbing them, beside the Lyapunov exponents of their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ...probe.configuration import Count
from ...probe.files import as_file_name
from ...probe.mixers import LRU, DeltaNet, GatedDeltaNet, GatedLinearAttention, MixerConfig, RetNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.tasks.base import Task, generator_for
from ...probe.tasks.recall import AssociativeRecall
from ..behaviour.measured_horizon import measured_horizon
from ..behaviour.results.measured_horizon import MeasuredHorizon
from ..behaviour.results.training_curve import TrainingCurve
from ..spectra.memory_horizon import memory_horizon
from ..spectra.results.memory_horizon import MemoryHorizon
from .named_mixers import check_names


@dataclass(frozen=True)
class MemoryHorizonStudy(Study, kind="memory-horizon"):
    """Models of several families are trained on associative recall, and their states disturbed."""

    names: tuple[str, ...] = ("RetNet", "gated linear attention", "delta rule", "gated delta rule", "LRU")
    """Results call the models by these names, which stand in the order of `mixers`."""
    mixers: tuple[MixerConfig, ...] = (
        RetNet(heads=2),
        GatedLinearAttention(heads=2),
        DeltaNet(heads=2),
        GatedDeltaNet(heads=2),
        LRU(state_size=16),
    )
    """Each of these mixers is trained in a model of its own."""
    task: Task = field(default_factory=lambda: AssociativeRecall(pairs=8, symbols=16))
    """The models learn this task."""
    training: Training = field(default_factory=lambda: Training(steps=300, batch=32, length=32, learning_rate=5e-3))
    width: Count = 32
    """The residual stream has this many channels."""
    layers: Count = 2
    """Each model has this many layers."""
    length: Count = 128
    """States are followed over sequences of this many tokens."""
    sequences: Count = 8
    """So many sequences are looked at."""

    question: ClassVar[str] = "Does a state forget as fast as the Lyapunov exponents of its transitions predict?"
    time: ClassVar[str] = "1 min"

    def __post_init__(self) -> None:
        check_names(self.names, self.mixers)

    def models(self) -> Mapping[str, ModelConfig]:
        return {
            as_file_name(name): ModelConfig(self.task.vocabulary, self.width, self.layers, mixer, seed=self.seed)
            for name, mixer in zip(self.names, self.mixers, strict=True)
        }

    def execute(self, run: Run) -> None:
        models, histories = {}, {}
        for name, (label, config) in zip(self.names, self.models().items(), strict=True):
            models[name], histories[name] = run.train(label, config, self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute("memory_horizon", self._predicted, models=models)
        run.compute("measured_horizon", self._measured, models=models)

    def _predicted(self, models: dict[str, Model]) -> MemoryHorizon:
        return memory_horizon(models, self._tokens())

    def _measured(self, models: dict[str, Model]) -> MeasuredHorizon:
        return measured_horizon(models, self._tokens(), seed=self.seed)

    def _tokens(self) -> Tensor:
        return self.task.batch(self.sequences, self.length, "test", generator_for(self.seed, self.length)).tokens
