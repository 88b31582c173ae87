"""Every layer of one model against every layer of another, with what chance gives beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.statistics.nulls import share_as_large
from .centred_kernel_alignment import CentredKernelAlignment
from .measure import SimilarityMeasure
from .results.compare import RepresentationSimilarity


def compare_representations(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    generator: torch.Generator,
    *,
    measure: SimilarityMeasure | None = None,
    groups: Tensor | None = None,
    shuffles: int = 99,
) -> RepresentationSimilarity:
    """Compare activations of the same samples, each place of one model with each of another.

    first, second: by name of the place, [n, ...] each, row i of every one from the same sample.
    measure: debiased CKA if left out.
    groups: [n], which samples belong together (a sequence, a document). The null shuffles whole groups against each other where
        all have one size, and samples otherwise; without groups it shuffles samples, which is too easy a null for neighbours.
    shuffles: how many; p cannot be below 1 / (shuffles + 1).

    Raises ValueError as the measure does, naming the pair.
    """
    measure = measure or CentredKernelAlignment()
    n = len(next(iter(first.values())))
    orders = [_shuffled(n, groups, generator) for _ in range(shuffles)]
    rows = []
    for name, one in first.items():
        for other, two in second.items():
            try:
                found = measure(one, two)
            except ValueError as error:
                raise ValueError(f"{name} against {other}: {error}") from error
            null = np.array([measure(one, two[order]) for order in orders])
            p = share_as_large(null, found)
            rows.append((measure.kind, name, other, found, float(null.mean()) if shuffles else np.nan, p, n))
    table = pd.DataFrame(rows, columns=list(RepresentationSimilarity.columns))
    return RepresentationSimilarity(table, {"shuffles": shuffles, "grouped": groups is not None})


def _shuffled(n: int, groups: Tensor | None, generator: torch.Generator) -> Tensor:
    if groups is None:
        return torch.randperm(n, generator=generator)
    members = [(groups == group).nonzero()[:, 0] for group in groups.unique()]
    if len({len(own) for own in members}) > 1:
        return torch.randperm(n, generator=generator)
    order = torch.empty(n, dtype=torch.long)
    for place, source in zip(members, torch.randperm(len(members), generator=generator), strict=True):
        order[place] = members[int(source)]
    return order
