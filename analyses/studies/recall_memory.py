"""Recall against memory (Arora et al. 2024, arXiv:2402.18668): associative recall by mixers of several state sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from ...probe.configuration import Count, NotNegative
from ...probe.files import as_file_name
from ...probe.mixers import Attention, DeltaNet, GatedLinearAttention, HeadsConfig, LinearAttention, Mamba2, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.tasks.base import generator_for
from ...probe.tasks.recall import AssociativeRecall
from ..behaviour.accuracy_by_length import accuracy_by_length
from ..behaviour.recall_memory import bytes_behind
from ..behaviour.results.accuracy_by_length import AccuracyByLength
from ..behaviour.results.recall_memory import RecallMemory
from ..behaviour.results.training_curve import TrainingCurve
from .named_mixers import check_names

SIZES = (4, 16)
FAMILIES = ("linear attention", "gated linear attention", "delta rule")


def _made(size: int) -> tuple[MixerConfig, ...]:
    kinds: tuple[type[HeadsConfig], ...] = (LinearAttention, GatedLinearAttention, DeltaNet)
    return tuple(kind(heads=2, key_size=size, value_size=16, short_convolution=3) for kind in kinds)


def _usual(kind: type[MixerConfig]) -> MixerConfig:
    """A mixer of two heads, where it has heads; recall needs the token before, which a convolution shows where there is one."""
    named = {found.name for found in fields(kind)}
    return kind(**{name: value for name, value in {"heads": 2, "short_convolution": 3}.items() if name in named})


@dataclass(frozen=True)
class RecallMemoryStudy(Study, kind="recall-memory"):
    """Each mixer is trained on associative recall, and stands where its memory puts it."""

    names: tuple[str, ...] = (
        *(f"{family}, K = {size}" for size in SIZES for family in FAMILIES),
        *(f"Mamba-2, N = {size}" for size in SIZES),
        "softmax, window 8",
        "softmax",
    )
    """Results call the models by these names, which stand in the order of `mixers`; what stands before a comma is the family."""
    mixers: tuple[MixerConfig, ...] = (
        *(mixer for size in SIZES for mixer in _made(size)),
        *(Mamba2(heads=2, state_size=size) for size in SIZES),
        Attention(heads=2, window=8),
        Attention(heads=2),
    )
    """Each of these mixers is trained in a model of its own."""
    every: bool = False
    """Every other token mixer there is, of plug-ins too, is trained as well: two heads, and else its usual size."""
    task: AssociativeRecall = field(default_factory=lambda: AssociativeRecall(pairs=8, symbols=16))
    """So many pairs are to be remembered."""
    training: Training = field(default_factory=lambda: Training(steps=800, batch=64, length=32, learning_rate=5e-3))
    width: Count = 32
    """The residual stream has this many channels."""
    layers: Count = 2
    """Each model has this many layers."""
    expansion: NotNegative = 0.0
    """The channel mixer's hidden units are this multiple of the width; 0 leaves it out."""
    sequences: Count = 256
    """Each model is tested on this many sequences."""

    question: ClassVar[str] = "How much does each mixer recall for the bytes that it carries?"
    time: ClassVar[str] = "5 min"

    def __post_init__(self) -> None:
        check_names(self.names, self.mixers)

    def compared(self) -> dict[str, MixerConfig]:
        """The mixers by the names that results call them by."""
        others = [MixerConfig.of_kind(kind) for kind in MixerConfig.kinds()] if self.every else []
        chosen = dict(zip(self.names, self.mixers, strict=True))
        return chosen | {kind.__name__: _usual(kind) for kind in others if not any(type(one) is kind for one in self.mixers)}

    def models(self) -> Mapping[str, ModelConfig]:
        return {
            as_file_name(name): ModelConfig(
                self.task.vocabulary, self.width, self.layers, mixer, expansion=self.expansion, seed=self.seed
            )
            for name, mixer in self.compared().items()
        }

    def execute(self, run: Run) -> None:
        models, histories = {}, {}
        for name, (label, config) in zip(self.compared(), self.models().items(), strict=True):
            models[name], histories[name] = run.train(label, config, self.task, self.training, self.seed)
        accuracy = run.compute(
            "accuracy_by_length",
            accuracy_by_length,
            models=models,
            task=self.task,
            lengths=(self.training.length,),
            sequences=self.sequences,
            seed=self.seed,
        )
        run.compute("recall_memory", self._memory, models=models, accuracy=accuracy)
        run.compute("training", TrainingCurve.of, histories=histories)

    def _memory(self, models: dict[str, Model], accuracy: AccuracyByLength) -> RecallMemory:
        length = self.training.length
        tokens = self.task.batch(1, length, "test", generator_for(self.seed, length)).tokens
        held = {name: bytes_behind(model, tokens) for name, model in models.items()}
        return RecallMemory.of(accuracy, held, {name: name.partition(",")[0] for name in models}, length)
