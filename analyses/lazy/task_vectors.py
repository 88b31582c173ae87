"""Tasks learnt apart from one start, as directions in the parameters that are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Predict = Callable[[Mapping[str, Tensor]], Tensor]  # a task vector to outputs on one set of inputs
Vector = dict[str, Tensor]


def task_vector(after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> Vector:
    """theta - theta_0 of each parameter, the direction that a task was learnt along (Ilharco et al. 2023, arXiv:2212.04089)."""
    if after.keys() != before.keys():
        raise ValueError(f"both need the same parameters, these are in one alone: {sorted(after.keys() ^ before.keys())}")
    return {name: after[name].detach() - before[name].detach() for name in before}


def combined(vectors: Sequence[Vector], scales: Sequence[float]) -> Vector:
    """sum_i a_i tau_i. Raises ValueError where there is not one scale for each vector, and for vectors of other parameters."""
    if len(vectors) != len(scales) or not vectors:
        raise ValueError(f"{len(vectors)} task vectors and {len(scales)} scales were given, one of each is needed")
    if any(own.keys() != vectors[0].keys() for own in vectors):
        raise ValueError(f"task vectors need the same parameters, got {[sorted(own) for own in vectors]}")
    return {
        name: torch.stack([scale * own[name] for own, scale in zip(vectors, scales, strict=True)]).sum(0) for name in vectors[0]
    }


def disentanglement_error(predicts: Sequence[Predict], vectors: Sequence[Vector], scales: Sequence[float]) -> float:
    """How far tasks disturb each other when their vectors are added: 0 where each changes the outputs on its own inputs alone.

    xi(a) = sum_i E_{x of task i} d(f(x; theta_0 + a_i tau_i), f(x; theta_0 + sum_j a_j tau_j)), here with d the mean square over
    outputs, for numbers where the paper counts answers that differ (Ortiz-Jimenez, Favero and Frossard 2023, arXiv:2305.12827).

    predicts: of each task, the outputs on its inputs when a vector is added to theta_0. vectors: tau_i. scales: a_i. Raises
    ValueError where there is not one of each, and what `combined` raises.
    """
    if len(predicts) != len(vectors):
        raise ValueError(f"{len(predicts)} tasks and {len(vectors)} vectors were given, one of each is needed")
    whole, found = combined(vectors, scales), 0.0
    for predict, vector, scale in zip(predicts, vectors, scales, strict=True):
        with torch.no_grad():
            found += float((predict(combined([vector], [scale])) - predict(whole)).square().mean())
    return found
