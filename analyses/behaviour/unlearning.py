"""Unlearning by one step of one layer along one gradient (Cai et al. 2025, arXiv:2407.11867)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...probe.models.hooked import HookedModel
from ...probe.runs.training import task_loss
from ...probe.tasks.base import Batch
from .measures import Measure, token_accuracy
from .results.unlearning_layers import UnlearningLayers

DOUBLINGS = 40


@dataclass(frozen=True, eq=False)
class Unlearned:
    """A model with one layer moved. step: along the gradient of the loss to forget.

    forgotten, kept: what is measured on either batch, before and after.
    """

    model: HookedModel
    layer: str
    step: float
    forgotten: tuple[float, float]
    kept: tuple[float, float]

    def summary(self) -> str:
        """What the step did to either batch."""
        (forgot, forgotten), (kept, keeps) = self.forgotten, self.kept
        return (
            f"{self.layer} moved by {self.step:.3g} times the gradient: what is to be forgotten went from {forgot:.4g} to "
            f"{forgotten:.4g}, what is to be kept from {kept:.4g} to {keeps:.4g}"
        )


def unlearning_layers(
    model: HookedModel, forget: Batch, keep: Batch, *, layers: Sequence[str] | None = None, name: str = "model"
) -> UnlearningLayers:
    """How much each layer has to do with what is to be forgotten, and how much of that with what is to be kept.

    forget, keep: batches of either. layers: names of parameters; all matrices when None. name: of the model.

    Raises KeyError for a parameter that there is not, ValueError for one that the loss to forget does not depend on, and for
    a loss that is not finite, as of a batch without targets.
    """
    parameters = dict(model.named_parameters())
    names = [key for key, value in parameters.items() if value.ndim > 1] if layers is None else list(layers)
    wanted, spared = (_gradients(model, batch, names) for batch in (forget, keep))
    rows = []
    for layer, own, other in zip(names, wanted, spared, strict=True):
        size = float(own.norm())
        if not size > 0:
            raise ValueError(f"the loss to forget does not depend on {layer}; leave it out")
        conflict = float((own * other).sum().abs() / (size * other.norm().clamp(min=1e-300)))
        importance = size / float(parameters[layer].detach().double().norm().clamp(min=1e-300))
        rows.append({"layer": layer, "importance": importance, "conflict": conflict, "parameters": own.numel()})
    table = pd.DataFrame(rows).assign(model=name)
    table["on_front"] = _on_front(table["importance"].to_numpy(), table["conflict"].to_numpy())
    return UnlearningLayers(table[list(UnlearningLayers.columns)], {"forgotten": len(forget.tokens), "kept": len(keep.tokens)})


def unlearn(
    model: HookedModel,
    forget: Batch,
    keep: Batch,
    layer: str,
    *,
    until: float,
    measure: Measure = token_accuracy,
    bisections: int = 12,
) -> Unlearned:
    """A copy of a model that has forgotten: theta + step * gradient of the loss to forget, of one layer, once.

    until: the step is the shortest, up to bisection, at which the mean of `measure` on the batch to forget is no more than this,
        such as the accuracy of chance. layer: the name of a parameter, as `unlearning_layers` has it.

    Raises KeyError for a layer that there is not, ValueError where no step makes it forget.
    """
    found = copy.deepcopy(model)
    [gradient] = _gradients(model, forget, [layer])
    parameter = dict(found.named_parameters())[layer]
    start = parameter.detach().double().clone()
    if not bool(gradient.any()):
        raise ValueError(f"the loss to forget does not depend on {layer}; take another layer")

    def left(step: float) -> float:
        with torch.no_grad():
            parameter.copy_(start + step * gradient)
        return _mean(found, forget, measure)

    before = left(0.0), _mean(found, keep, measure)
    low, high = 0.0, 1e-3 * float(start.norm() / gradient.norm())
    for _ in range(DOUBLINGS):
        if left(high) <= until:
            break
        low, high = high, 2 * high
    else:
        raise ValueError(
            f"no step of {layer} brings what is to be forgotten to {until:g}; take another layer, or a larger number"
        )
    for _ in range(bisections):
        middle = (low + high) / 2
        low, high = (low, middle) if left(middle) <= until else (middle, high)
    after = left(high), _mean(found, keep, measure)
    return Unlearned(found, layer, high, (before[0], after[0]), (before[1], after[1]))


def _on_front(importance: NDArray[np.float64], conflict: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of which layers no other has as much importance at as little conflict, and more of the one or less of the other: [n]."""
    more, less = importance[:, None] - importance, conflict[:, None] - conflict  # of each row's layer, beside each column's
    beaten = (more >= 0) & (less <= 0) & ((more > 0) | (less < 0))
    return np.logical_not(beaten.any(axis=0))


def _gradients(model: HookedModel, batch: Batch, names: Sequence[str]) -> list[Tensor]:
    """The gradients of the loss of a batch with respect to parameters, in float64; zeros where it does not depend on one."""
    known = dict(model.named_parameters())
    missing = [name for name in names if name not in known]
    if missing:
        raise KeyError(f"the model has no parameter {missing[0]}; it has {', '.join(known)}")
    with torch.enable_grad():
        loss = task_loss(model(batch.tokens), batch)
        if not bool(loss.isfinite()):
            raise ValueError(
                f"the loss of a batch is {loss.item()}; give one with targets that count, and a model that is finite"
            )
        found = torch.autograd.grad(loss, [known[name] for name in names], allow_unused=True)
    pairs = zip(found, names, strict=True)
    return [torch.zeros_like(known[name]).double() if own is None else own.detach().double() for own, name in pairs]


def _mean(model: HookedModel, batch: Batch, measure: Measure) -> float:
    with torch.no_grad():
        found = float(measure(model(batch.tokens), batch).double().nanmean())
    if math.isnan(found):
        raise ValueError("nothing of the batch is measured: it has no target")
    return found
