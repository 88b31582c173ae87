"""Hybrids of linear and softmax layers (P009): what does the share of softmax buy?

For each linear mixer and each schedule of layers one model learns a language of templates and one learns associative recall of
more pairs than a small state holds easily; the loss, the recall, and what a sequence costs in memory stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd
import torch

from ...probe.configuration import Count
from ...probe.files import as_file_name
from ...probe.mixers import HGRN2, Attention, GatedDeltaNet, MixerConfig, RetNet
from ...probe.models.config import ModelConfig
from ...probe.models.generate import memory_bytes, stream_logits
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training, task_loss
from ...probe.tasks.base import IGNORED, Batch, Task, generator_for
from ...probe.tasks.recall import AssociativeRecall
from ...probe.tasks.sentiment import Sentiment
from .named_mixers import check_names
from .results.hybrid import HybridTable

SOFTMAX = "softmax"
BESIDE_SOFTMAX: dict[str, MixerConfig] = {
    "Gated DeltaNet": GatedDeltaNet(heads=2, key_size=8, value_size=8),
    "HGRN2": HGRN2(heads=2, key_size=8, value_size=8, short_convolution=4),
    "RetNet": RetNet(heads=2, key_size=8, value_size=8, short_convolution=4),
}
SHARES = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class HybridStudy(Study, kind="hybrid"):
    """Linear mixers in four layers, with none, one, two or only softmax layers."""

    recall: Training = field(default_factory=lambda: Training(steps=800, batch=32, length=24, learning_rate=5e-3))
    language: Training = field(default_factory=lambda: Training(steps=150, batch=32, length=32))
    names: tuple[str, ...] = tuple(BESIDE_SOFTMAX)
    """Results call the linear mixers by these names, which stand in the order of `mixers`."""
    mixers: tuple[MixerConfig, ...] = tuple(BESIDE_SOFTMAX.values())
    """These linear mixers are each combined with softmax layers."""
    shares: tuple[float, ...] = SHARES
    """Models are trained with these shares of softmax layers among their four, each 0, 0.25, 0.5 or 1."""
    width: Count = 32
    """The residual stream has this many channels."""
    pairs: Count = 6
    """The model is shown this many pairs of a key and a value, and has to recall the values."""
    symbols: Count = 16
    """Keys are drawn from this many symbols, and values from as many others."""
    sequences: Count = 200
    """Loss and recall are each measured on this many test sequences."""

    question: ClassVar[str] = "How many softmax layers does a linear model need to recall?"
    time: ClassVar[str] = "6 min"

    def __post_init__(self) -> None:
        check_names(self.names, self.mixers)

    def models(self) -> dict[str, ModelConfig]:
        found = {}
        for name, mixer in zip(self.names, self.mixers, strict=True):
            for share in self.shares:
                for task in (self._recall, Sentiment()):
                    pattern = self._pattern(mixer, share)
                    found[_label(name, share, task)] = ModelConfig(task.vocabulary, self.width, 4, pattern, seed=self.seed)
        return found

    def execute(self, run: Run) -> None:
        models: dict[tuple[str, float, str], Model] = {}
        for name in self.names:
            for share in self.shares:
                for task, training in ((self._recall, self.recall), (Sentiment(), self.language)):
                    label = _label(name, share, task)
                    models[name, share, task.kind], _ = run.train(label, self.models()[label], task, training, self.seed)
        run.compute("hybrid", self._table, models=models, names=list(self.names))

    @property
    def _recall(self) -> AssociativeRecall:
        return AssociativeRecall(pairs=self.pairs, symbols=self.symbols)

    def _pattern(self, mixer: MixerConfig, share: float) -> tuple[MixerConfig, ...]:
        """Softmax layers last in each group of the schedule, as in published hybrids."""
        soft = Attention(heads=2, key_size=8, value_size=8)
        places = {0.0: (), 0.25: (3,), 0.5: (1, 3), 1.0: (0, 1, 2, 3)}[share]
        return tuple(soft if layer in places else mixer for layer in range(4))

    @torch.no_grad()
    def _table(self, models: dict[tuple[str, float, str], Model], names: list[str]) -> HybridTable:
        rows = []
        for name in names:
            for share in self.shares:
                recall, language = models[name, share, self._recall.kind], models[name, share, Sentiment.kind]
                batch = self._batch(self._recall, self.recall.length)
                asked = batch.targets != IGNORED
                right = (recall(batch.tokens).argmax(-1) == batch.targets)[asked].double().mean()
                text = self._batch(Sentiment(), self.language.length)
                *_, (_, memories) = stream_logits(recall, batch.tokens[:1])
                rows.append((name, share, float(task_loss(language(text.tokens), text)), float(right), memory_bytes(memories)))
        return HybridTable(
            pd.DataFrame(rows, columns=list(HybridTable.columns)), {"sequences": self.sequences, "pairs": self.pairs}
        )

    def _batch(self, task: Task, length: int) -> Batch:
        return task.batch(self.sequences, length, "test", generator_for(self.seed, 1))


def _label(name: str, share: float, task: Task) -> str:
    """Of a model. One of softmax layers alone is the same beside whichever linear mixer it stands."""
    return as_file_name(f"{SOFTMAX if share == 1 else name}-{share:g}-{task.kind}")
