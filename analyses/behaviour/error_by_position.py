"""The squared error of models of real numbers by position, beside estimators that know the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import Batch, Task, generator_for
from ...probe.tasks.regression import InContextRegression
from .results.error_by_position import ErrorByPosition

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def error_by_position(
    models: Mapping[str, HookedModel], task: Task, length: int, *, sequences: int, seed: int
) -> ErrorByPosition:
    """Test models on fresh sequences, with the estimators of in-context regression beside them.

    Raises ValueError for a task of whole numbers, see `accuracy_by_length`, and for a model that takes tokens, as loaded ones do.
    """
    if not task.inputs:
        raise ValueError(f"{task.kind_name()} has whole numbers as targets; measure accuracy_by_length")
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
