"""A distance between two clouds of activations whose samples do not correspond."""

from __future__ import annotations

import torch
from torch import Tensor


def sliced_wasserstein(first: Tensor, second: Tensor, slices: int, generator: torch.Generator) -> float:
    """The sliced 2-Wasserstein distance of two point clouds (Bonneel et al. 2015; Kolouri et al. 2019, arXiv:1902.00434).

    first, second: [n, d] and [m, d], of equal weight; their rows do not correspond, as states of two classes or of two
        checkpoints do not.
    slices: how many random directions are averaged; the error falls as their root.
    generator: draws the directions; the same generator state on the same d gives a metric.

    On a line the distance is sqrt(int_0^1 (F^{-1}(u) - G^{-1}(u))^2 du), from sorted values.

    Raises ValueError for unequal widths.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"clouds [n, d] and [m, d] are needed, got {tuple(first.shape)} and {tuple(second.shape)}")
    directions = torch.randn(first.shape[1], slices, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    one, two = ((x.double() @ directions).sort(dim=0).values for x in (first, second))
    steps = torch.cat([torch.arange(1, len(x) + 1, dtype=torch.float64) / len(x) for x in (one, two)]).unique()
    widths = torch.diff(steps, prepend=steps.new_zeros(1))
    middle = steps - widths / 2
    quantiles = [x[(middle * len(x)).long().clamp(max=len(x) - 1)] for x in (one, two)]
    return float(((quantiles[0] - quantiles[1]).square() * widths[:, None]).sum(0).mean().sqrt())
