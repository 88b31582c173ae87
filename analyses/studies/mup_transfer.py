"""Transfer of the learning rate over widths, which the maximal update parametrisation promises and the standard one lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...probe.configuration import Count, Positive
from ...probe.mixers import DeltaNet, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.tasks.base import Task
from ...probe.tasks.recall import AssociativeRecall
from ..lazy.learning_rate_transfer import learning_rate_transfer
from ..lazy.results.learning_rate_transfer import LearningRateTransfer


@dataclass(frozen=True)
class MaximalUpdateTransfer(Study, kind="mup-transfer"):
    """One task, one mixer, several widths and learning rates, in the standard and in the maximal update parametrisation."""

    mixer: MixerConfig = DeltaNet(heads=2)
    """Every model has this mixer."""
    task: Task = field(default_factory=lambda: AssociativeRecall(pairs=4, symbols=8))
    """This is the task that all models learn."""
    widths: tuple[Count, ...] = (32, 64, 128)
    """The residual streams have these numbers of channels; the first is the base width."""
    rates: tuple[Positive, ...] = (2**-10, 2**-9, 2**-8, 2**-7, 2**-6, 2**-5)
    """Models are trained at these learning rates of Adam."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each is trained for each of these seeds."""
    layers: Count = 2
    """Each model has this many layers."""
    steps: Count = 50
    """Training takes this many steps."""
    batch: Count = 16
    """A batch holds this many sequences."""
    length: Count = 24
    """A sequence has this many tokens."""

    question: ClassVar[str] = "Is the learning rate that is best for a narrow model the best for a wide one?"
    time: ClassVar[str] = "2 min"

    def models(self) -> dict[str, ModelConfig]:
        names = ("standard", "mup")
        return {f"{name}-{width}": self._config(name, width, self.seed) for name in names for width in self.widths}

    def _config(self, name: str, width: int, seed: int) -> ModelConfig:
        return ModelConfig(
            self.task.vocabulary,
            width,
            self.layers,
            self.mixer,
            inputs=self.task.inputs,
            seed=seed,
            parametrisation="mup" if name == "mup" else "standard",
            base_width=min(self.widths),
        )

    def execute(self, run: Run) -> None:
        run.compute("learning_rate_transfer", self._measure)

    def _measure(self) -> LearningRateTransfer:
        return learning_rate_transfer(
            lambda name, width, seed: Model(self._config(name, width, seed)),
            self.task,
            parametrisations=("standard", "mup"),
            widths=self.widths,
            rates=self.rates,
            seeds=self.seeds,
            steps=self.steps,
            batch=self.batch,
            length=self.length,
        )
