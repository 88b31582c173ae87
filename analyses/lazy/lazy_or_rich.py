"""Networks of several widths and output scales beside what their tangent kernel at the start predicts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from ..kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from ..kernel_regression.ridge import kernel_ridge
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.measures import kernel_target_alignment, relative_change
from .centred_training import train_centred
from .results.lazy_or_rich import COLUMNS, LazyOrRich


class Data(NamedTuple):
    """A regression problem. train, test: inputs [N, ...], [M, ...]; targets, test_targets: [N, O], [M, O]."""

    train: Tensor
    targets: Tensor
    test: Tensor
    test_targets: Tensor


def lazy_or_rich(
    networks: Sequence[tuple[int, float, int, nn.Module]], data: Data, *, steps: int, step: float | None = None
) -> LazyOrRich:
    """Train networks, and compare each with descent on its own tangent kernel at the start.

    networks: (width, scale, seed, module) each, in float64, trained in place. step: the learning rate of descent on
    |F - y|^2 / 2; left out, half of the largest one that is stable for each kernel.
    """
    rows = [_one(width, scale, seed, model, data, steps, step) for width, scale, seed, model in networks]
    about = {"samples": len(data.train), "steps": steps}
    return LazyOrRich(pd.DataFrame(rows, columns=list(COLUMNS)), about)


def _one(width: int, scale: float, seed: int, model: nn.Module, data: Data, steps: int, step: float | None) -> tuple[float, ...]:
    before, cross = _kernels(model, data)
    rate = 0.5 * largest_stable_step(before) if step is None else step
    run = train_centred(model, data.train, data.targets, data.test, scale=scale, step=rate, times=[steps])
    predicted = gradient_descent(before, data.targets, torch.tensor([float(steps)]), rate, cross).test[-1]
    after, cross_after = _kernels(model, data)
    ridge = 1e-8 * float(after.trace()) / len(after)
    by_after = kernel_ridge(after, data.targets, cross_after, ridge=ridge).mean
    alignments = [kernel_target_alignment(kernel, data.targets) for kernel in (before, after)]
    return (
        width,
        scale,
        seed,
        relative_change(after, before),
        float(run.movement[-1]),
        float((run.test[-1] - predicted).square().mean().sqrt()),
        *alignments,
        float((run.train[-1] - data.targets).square().mean()),
        *(float((found - data.test_targets).square().mean()) for found in (run.test[-1], predicted, by_after)),
    )


def _kernels(model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """On the training set, and between test and training set."""
    return empirical_ntk(model, data.train), empirical_ntk(model, data.test, data.train)
