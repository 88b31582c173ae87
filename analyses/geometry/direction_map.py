"""Directions of several concepts: their cosines, and how a sequence projects on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ...probe.subspaces.direction import Direction
from .results.direction_map import DirectionCosines, DirectionProjection

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel


def direction_cosines(directions: Sequence[Direction], metrics: Mapping[str, Tensor | None] | None = None) -> DirectionCosines:
    """Cosines of all pairs of directions that share an activation.

    metrics: name -> M [D, D], or None for the identity, whatever metric a direction itself has; Euclidean alone when None.
    """
    rows = []
    for said, metric in ({"Euclidean": None} if metrics is None else metrics).items():
        measured = [direction.under(metric) for direction in directions]
        rows += [
            (a.hook, said, a.name, b.name, a.cosine(b))
            for a in measured
            for b in measured
            if a.hook == b.hook and a.side == b.side
        ]
    return DirectionCosines(pd.DataFrame(rows, columns=list(DirectionCosines.columns)))


def direction_projection(
    model: HookedModel, directions: Sequence[Direction], tokens: Tensor, texts: Sequence[str], labels: dict[str, Tensor]
) -> DirectionProjection:
    """Project one sequence on directions of activations that have one vector a token, or of whole states.

    A projection counts from a direction's origin, in units of its scale: with the mean of the samples without the concept as the
    origin, it is 0 where the concept is absent and 1 where it is present, on average.

    tokens [T]; labels: concept -> [T]. Raises ValueError for a direction on a side of a state or in every head, of which a token
    has many components.
    """
    hooks = sorted({direction.hook for direction in directions})
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=hooks, taps=model.taps_for(hooks, "all"), return_type=None)
    tables = []
    for direction in directions:
        along = direction.project(cache[direction.hook][0]) / direction.scale
        if along.ndim != 1:
            raise ValueError(f"{direction.name}: a token has {tuple(along.shape[1:])} components along it, and here it needs one")
        frame = pd.DataFrame({"position": range(len(tokens)), "token": list(texts), "projection": along.cpu().numpy()})
        label = labels[direction.name].numpy()
        tables.append(frame.assign(hook=direction.hook, direction=direction.name, label=label))
    return DirectionProjection(pd.concat(tables, ignore_index=True))
