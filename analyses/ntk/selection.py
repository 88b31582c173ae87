"""Which samples to label next, by how they lie to each other in a tangent kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..operators.precise import positive_kernel


def choose_by_largest_cluster(kernel: Tensor, labelled: Sequence[int], count: int) -> list[int]:
    """Choose samples one after another, each the farthest of the cluster that spreads most (Holzmueller et al. 2023,
    arXiv:2203.09410, their LCMD).

    The samples that are labelled or chosen are centres, and every sample belongs to the nearest of them by the kernel's
    distance d(i, j)^2 = K_ii + K_jj - 2 K_ij. A cluster spreads by the sum of its samples' squared distances from the centre; so
    a sample is chosen where there are many like it that no label is near to, and not for being far from all others alone.

    kernel: [N, N] of all samples, such as a projected `tangent_kernel` of the model that the labels have trained so far.
    labelled: indices, one at least. count: how many to choose, of those that are left. Returns them in their order.

    Raises ValueError for a count or indices outside these ranges, and what `positive_kernel` raises.
    """
    kernel, centres = positive_kernel(kernel), [int(index) for index in labelled]
    samples = len(kernel)
    if not centres or len(set(centres)) < len(centres) or not all(0 <= index < samples for index in centres):
        raise ValueError(f"labelled must be different indices below {samples}, one at least; got {centres}")
    if not 1 <= count <= samples - len(centres):
        raise ValueError(f"count={count} must lie between 1 and {samples - len(centres)}, as many as have no label")
    apart = _squared_distances(kernel, centres)
    nearest, cluster = apart.min(1)
    free = torch.ones(samples, dtype=torch.bool, device=kernel.device)
    free[centres] = False
    chosen: list[int] = []
    for _ in range(count):
        spread = nearest.new_zeros(len(centres)).index_add_(0, cluster, nearest * free)
        counted = nearest.new_zeros(len(centres)).index_add_(0, cluster, free.to(nearest))
        largest = int(spread.masked_fill(counted == 0, -torch.inf).argmax())
        best = int(nearest.masked_fill(~free | (cluster != largest), -torch.inf).argmax())
        chosen.append(best)
        free[best] = False
        own = _squared_distances(kernel, [best])[:, 0]
        cluster = torch.where(own < nearest, len(centres), cluster)
        nearest = torch.minimum(own, nearest)
        centres.append(best)
    return chosen


def _squared_distances(kernel: Tensor, centres: list[int]) -> Tensor:
    """Of every sample from each centre, [N, centres]; rounding makes none negative."""
    own = kernel.diagonal()
    return (own[:, None] + own[centres] - 2 * kernel[:, centres]).clamp(min=0)
