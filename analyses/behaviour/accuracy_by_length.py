"""Accuracy of a model at lengths it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ...probe.statistics.groups import group_bootstrap
from ...probe.tasks.base import IGNORED, Task, generator_for
from .results.accuracy_by_length import AccuracyByLength

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def accuracy_by_length(
    models: Mapping[str, HookedModel], task: Task, lengths: Sequence[int], *, sequences: int, seed: int
) -> AccuracyByLength:
    """Test models on fresh sequences of each length, all positions that have a target counted; the interval is over sequences.

    Raises ValueError for a task of real numbers, whose targets no answer hits, and for a sequence without a target.
    """
    if task.inputs:
        raise ValueError(f"{task.kind_name()} has real targets, which have no accuracy; measure the squared error with task_loss")
    rows = []
    for length in lengths:
        batch = task.batch(sequences, length, "test", generator_for(seed, length))
        counted = batch.targets != IGNORED
        if not bool(counted.any(1).all()):
            raise ValueError(f"{task.kind_name()} gives sequences of length {length} without a target, which have no accuracy")
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
