"""A model whose time-invariant layers keep only the states that count: what is lost, of the response and of the task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.linear_system import LinearSystem
from ...probe.mixers.state_space import StateSpaceMixer
from ...probe.runs.training import task_loss
from ...probe.tasks.base import Batch
from ..models import Models, linear_systems_of, named_models
from .results.balanced_truncation import ALL, BalancedTruncation

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

ANGLES = 513  # at which the error of a truncation is looked for, besides those of the poles


def balanced_truncation(models: Models, batch: Batch, orders: Sequence[int]) -> BalancedTruncation:
    """Truncate every time-invariant layer, and measure what the model loses.

    models: a model, or several by name. batch: sequences with targets, of the task the models were trained on.
    orders: states to keep of each system, from 1 to what is reached and seen above rounding (see `LinearSystem.balanced`).

    Raises ValueError for no order or one that is out of range, and for a model without a time-invariant layer.
    """
    if not orders:
        raise ValueError("give the orders to truncate to")
    rows: list[tuple[Any, ...]] = []
    for name, model in named_models(models).items():
        systems = dict(linear_systems_of(model))
        full = _loss(model, batch)
        sigma = {layer: system.hankel_singular_values() for layer, system in systems.items()}
        for order in sorted(set(orders)):
            small = {layer: system.balanced(order) for layer, system in systems.items()}
            for layer, system in small.items():
                with replaced(model, {layer: system}):
                    loss = _loss(model, batch)
                error = float(largest_gap(systems[layer], system).max())
                bound = 2 * float(sigma[layer][:, order:].sum(-1).max())
                rows.append((name, str(layer), order, systems[layer].size, loss, full, error, bound))
            with replaced(model, small):
                most = max(system.size for system in systems.values())
                rows.append((name, ALL, order, most, _loss(model, batch), full, np.nan, np.nan))
    return BalancedTruncation(pd.DataFrame(rows, columns=list(BalancedTruncation.columns)), {"sequences": len(batch.tokens)})


def largest_gap(system: LinearSystem, other: LinearSystem) -> Tensor:
    """The largest gain max_w |G(e^{iw}) - G'(e^{iw})|_2 of each system, [H], over 513 angles and those of the poles of both.

    A pole of modulus 1 - d has a peak of a width of d, which lies between the 513 where it is narrow.
    """
    even = torch.linspace(0, math.pi, ANGLES, dtype=torch.float64).expand(len(system.a), -1)
    angles = torch.cat([even, system.poles().angle().abs(), other.poles().angle().abs()], dim=-1)
    gaps = torch.linalg.matrix_norm(system.frequency_response(angles) - other.frequency_response(angles), ord=2)
    largest: Tensor = gaps.amax(-1)
    return largest


@contextmanager
def replaced(model: HookedModel, systems: Mapping[int, LinearSystem]) -> Iterator[None]:
    """Within it the layers give what they would with these linear systems in place of their own. Their hooks still show the
    states of their own.
    """
    handles = []
    try:
        for layer, system in systems.items():
            mixer = cast(StateSpaceMixer, model.mixer(layer))
            handles.append(mixer.register_forward_hook(partial(_answer, system)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _answer(system: LinearSystem, mixer: Any, arguments: tuple[Any, ...], given: Tensor) -> Tensor:
    x: Tensor = arguments[0]
    heads = system.b.shape[0]
    y = system.respond(x.double().cpu().unflatten(-1, (heads, -1))).flatten(-2)
    answer: Tensor = mixer.finish(y.to(given), x)
    return answer


def _loss(model: HookedModel, batch: Batch) -> float:
    with torch.no_grad():
        return float(task_loss(model(batch.tokens), batch))
