"""Linear recurrences trained beside what the formula of their tangent kernel predicts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from ..infinite_width.diagonal_recurrence import DiagonalRecurrence, infinite_diagonal_recurrence_ntk
from ..kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.measures import relative_change
from .centred_training import train_centred
from .lazy_or_rich import Data
from .results.recurrence_kernel import RecurrenceKernel


def recurrence_kernel(
    data: Data,
    channels: Sequence[int],
    seeds: Sequence[int],
    *,
    times: Sequence[int],
    decays: tuple[float, float] = (-0.9, 0.9),
    share_of_largest_step: float = 0.2,
) -> RecurrenceKernel:
    """Train recurrences of several widths on sequences, and predict each by its kernel at the start.

    data: sequences [N, T] and targets [N, 1]. times: steps at which errors are measured. decays: between which lambda is drawn.
    share_of_largest_step: of the learning rate at which descent with the kernel at the start would stop converging.
    """
    limit = infinite_diagonal_recurrence_ntk(*decays, data.train, nodes=max(64, data.train.shape[1]))
    tables = []
    for count in channels:
        for seed in seeds:
            model = DiagonalRecurrence(count, torch.Generator().manual_seed(seed), *decays)
            tables.append(_one(model, data, times, limit, share_of_largest_step).assign(channels=count, seed=seed))
    table = pd.concat(tables, ignore_index=True)[list(RecurrenceKernel.columns)]
    return RecurrenceKernel(table, {"samples": len(data.train), "tokens": data.train.shape[1], "decays": list(decays)})


def _one(model: DiagonalRecurrence, data: Data, times: Sequence[int], limit: Tensor, share: float) -> pd.DataFrame:
    before, cross = model.kernel(data.train), model.kernel(data.test, data.train)
    formula = relative_change(before, empirical_ntk(model, data.train))
    step = share * largest_stable_step(before)
    predicted = gradient_descent(before, data.targets, torch.tensor([float(time) for time in times]), step, cross)
    run = train_centred(model, data.train, data.targets, data.test, scale=1.0, step=step, times=times)
    after = model.kernel(data.train)
    formula = max(formula, relative_change(after, empirical_ntk(model, data.train)))
    errors = {
        "train_error": (run.train, data.targets),
        "predicted_train_error": (predicted.train, data.targets),
        "test_error": (run.test, data.test_targets),
        "predicted_test_error": (predicted.test, data.test_targets),
    }
    columns = {name: (values - targets).square().mean((1, 2)).numpy() for name, (values, targets) in errors.items()}
    whole = {
        "formula_error": formula,
        "from_the_limit": relative_change(before, limit),
        "kernel_change": relative_change(after, before),
    }
    return pd.DataFrame({"step": list(times), **columns, **whole})
