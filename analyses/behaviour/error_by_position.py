"""The squared error of models of real numbers by position, beside estimators that know the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import Batch, Task, generator_for
from ...probe.tasks.regression import InContextRegression

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

NAMES = {"ols": "least squares", "ridge": "ridge", "gradient_descent": "one gradient step", "bayes": "Bayes"}


@dataclass(frozen=True)
class ErrorByPosition(Result, kind="error_by_position"):
    """The mean squared error at each position that has a target."""

    title: ClassVar[str] = "Squared error against position"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model, or of an estimator",
        "estimator": "whether it is one: computed from the task's own description, not learned",
        "position": "token position, from 0",
        "error": "mean squared error, in units of the target's variance over all positions",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
    }

    def summary(self) -> str:
        last = self.table["position"].max()
        rows = self.table[self.table["position"] == last]
        return "\n".join(f"{row.model}: {row.error:.3g} of the variance at position {row.position}" for row in rows.itertuples())

    def specification(self) -> Figure:
        lines = []
        for (estimator, model), own in self.table.groupby(["estimator", "model"], sort=False):
            x, y, low, high = (own[name].to_numpy() for name in ("position", "error", "low", "high"))
            label = NAMES.get(str(model), str(model))
            lines.append(Line(x, y, label) if estimator else Line(x, y, label, low, high, markers=True))
        panel = Panel(lines, "token position", "mean squared error / variance", level=(1.0, "answering 0"), y_range=(0.0, 1.5))
        return Figure(self.title, [panel], columns=1, alt=f"Squared error against position. {self.summary()}")


def error_by_position(
    models: Mapping[str, HookedModel], task: Task, length: int, *, sequences: int, seed: int
) -> ErrorByPosition:
    """Test models on fresh sequences, with the estimators of in-context regression beside them.

    Raises ValueError for a task of whole numbers, see `accuracy_by_length`, and for a model that takes tokens, as loaded ones do.
    """
    if not task.inputs:
        raise ValueError(f"{task.kind} has whole numbers as targets; measure accuracy_by_length")
    batch = task.batch(sequences, length, "test", generator_for(seed, length))
    said: dict[str, tuple[Tensor, bool]] = {}
    for name, model in models.items():
        with torch.no_grad():
            said[name] = model(batch.tokens).cpu(), False
    if isinstance(task, InContextRegression):
        said |= {name: (value[..., None], True) for name, value in task.predictions(batch).items()}
    variance = float(batch.targets[batch.targets.isfinite()].square().mean())
    rows = []
    for name, (answer, estimator) in said.items():
        for position, each in _errors(answer, batch):
            low, high = group_bootstrap(each / variance, batch.groups.numpy(), 1000, seed)
            rows.append((name, estimator, position, float(each.mean()) / variance, low, high))
    table = pd.DataFrame(rows, columns=list(ErrorByPosition.columns))
    return ErrorByPosition(table, {"sequences": sequences, "length": length, "variance": variance})


def _errors(answer: Tensor, batch: Batch) -> list[tuple[int, np.ndarray]]:
    """The squared error of each sequence at each position that has a target."""
    squared = (answer.double() - batch.targets.double()).square().mean(-1)
    counted = batch.targets.isfinite().all(-1).all(0)
    return [(position, squared[:, position].numpy()) for position in counted.nonzero().flatten().tolist()]
