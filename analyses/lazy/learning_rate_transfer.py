"""Whether the best learning rate of a narrow model is that of a wide one, and whether features move as far at each width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from ...probe.hooks.names import hook_name
from ...probe.models.model import Model
from ...probe.runs.training import task_loss
from ...probe.tasks.base import Batch, Task, generator_for
from .results.learning_rate_transfer import LearningRateTransfer


def learning_rate_transfer(
    make: Callable[[str, int, int], Model],
    task: Task,
    *,
    parametrisations: Sequence[str],
    widths: Sequence[int],
    rates: Sequence[float],
    seeds: Sequence[int],
    steps: int,
    batch: int,
    length: int,
    checked_steps: int = 3,
) -> LearningRateTransfer:
    """Train models of all combinations by Adam at a constant rate.

    make: the model of a parametrisation, a width and a seed. checked_steps: after these many steps the features' movement is
    measured. Models of one seed see the same batches.
    """
    rows = []
    for name in parametrisations:
        for width in widths:
            for rate in rates:
                for seed in seeds:
                    batches = [task.batch(batch, length, "train", generator_for(seed, step)) for step in range(steps)]
                    rows.append((name, width, rate, seed, *_trained(make(name, width, seed), batches, rate, checked_steps)))
    table = pd.DataFrame(rows, columns=list(LearningRateTransfer.columns))
    return LearningRateTransfer(table, {"steps": steps, "batch": batch, "length": length})


def _trained(model: Model, batches: Sequence[Batch], rate: float, checked_steps: int) -> tuple[float, float]:
    """The loss at the end and the movement at the start."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    before, moved, losses = _features(model, batches[0]), float("nan"), list[float]()
    for step, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        loss = task_loss(model(batch.tokens), batch)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            return float("inf"), moved
        loss.backward()
        optimizer.step()
        if step == min(checked_steps, len(batches)):
            moved = float((_features(model, batches[0]) - before).abs().mean() / before.abs().mean())
    return float(np.mean(losses[-max(1, len(losses) // 5) :])), moved


def _features(model: Model, batch: Batch) -> torch.Tensor:
    name = hook_name(model.layers - 1, "hook_resid_post")
    with torch.no_grad():
        _, cache = model.run_with_cache(batch.tokens, names_filter=name)
    kept: torch.Tensor = cache[name]
    return kept
