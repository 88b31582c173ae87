"""Accuracy of a model at lengths it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import IGNORED, Task, generator_for

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


@dataclass(frozen=True)
class AccuracyByLength(Result, kind="accuracy_by_length"):
    """The share of positions answered rightly in sequences of each length."""

    title: ClassVar[str] = "Accuracy against length"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "length": "tokens in a sequence",
        "accuracy": "share of the positions with a target that are right",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "last": "share of sequences whose last position with a target is right",
    }

    def summary(self) -> str:
        longest = self.table[self.table["length"] == self.table["length"].max()]
        return "\n".join(
            f"{row.model}: {row.accuracy:.2%} of positions right at length {row.length}" for row in longest.itertuples()
        )

    def specification(self) -> Figure:
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            x, y, low, high = (own[name].to_numpy() for name in ("length", "accuracy", "low", "high"))
            lines.append(Line(x, y, str(model), low, high, markers=True))
        chance = float(self.about["chance"])
        panel = Panel(lines, "length of the sequence", "accuracy", level=(chance, "chance"), y_range=(0.0, 1.02))
        return Figure(self.title, [panel], columns=1, alt=f"Accuracy against length. {self.summary()}")


def accuracy_by_length(
    models: Mapping[str, HookedModel], task: Task, lengths: Sequence[int], *, sequences: int, seed: int
) -> AccuracyByLength:
    """Test models on fresh sequences of each length, all positions that have a target counted; the interval is over sequences.

    Raises ValueError for a task of real numbers, whose targets no answer hits, and for a sequence without a target.
    """
    if task.inputs:
        raise ValueError(f"{task.kind} has real targets, which have no accuracy; measure the squared error with task_loss")
    rows = []
    for length in lengths:
        batch = task.batch(sequences, length, "test", generator_for(seed, length))
        counted = batch.targets != IGNORED
        if not bool(counted.any(1).all()):
            raise ValueError(f"{task.kind} gives sequences of length {length} without a target, which have no accuracy")
        for name, model in models.items():
            with torch.no_grad():
                right = (model(batch.tokens).argmax(-1).cpu() == batch.targets).double()
            each = ((right * counted).sum(1) / counted.sum(1)).numpy()
            low, high = group_bootstrap(each, batch.groups.numpy(), 1000, seed)
            rows.append((name, length, float(each.mean()), low, high, float(right.gather(1, _last(counted)).mean())))
    table = pd.DataFrame(rows, columns=list(AccuracyByLength.columns))
    return AccuracyByLength(table, {"sequences": sequences, "chance": 1 / task.vocabulary, "lengths": list(lengths)})


def _last(counted: Tensor) -> Tensor:
    """The last position of each sequence that has a target, [B, 1]."""
    positions = torch.arange(counted.shape[1], device=counted.device)
    return (counted * positions).argmax(1, keepdim=True)
