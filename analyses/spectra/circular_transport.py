"""How far apart two distributions of phases are on the circle, and an embedding in which that distance is a norm.

A distribution nu on the circle has the quantile function Q, with Q(u + 1) = Q(u) + 2 pi. Its optimal transport from the uniform
distribution, for the squared arc, cuts the circle at alpha = int_0^1 (Q(u) / 2 pi - u) du, and moves the point 2 pi x by

    m_nu(x) = Q(x - alpha) - 2 pi x    in [-pi, pi]

(linear circular optimal transport, Diaz Martin et al. 2023, arXiv:2310.06002). The root mean square over x of the arc between
m_nu and m_mu is a metric, never below the exact distance (it is what one coupling costs), equal to the arc for two points, and
costs one sort a distribution, where each exact distance of two costs a search over cuts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TURN = 2 * math.pi


def circular_embedding(phases: Tensor, *, points: int = 256, weights: Tensor | None = None) -> Tensor:
    """How far the transport from even phases moves each of `points` of them, in radians: [..., points].

    phases: in radians, of any turn, [..., n]. weights: of the phases, none below 0, such as those of a histogram's bins; even
    where they are None. Raises ValueError for phases that are not finite, and for weights that are no weights of them.
    """
    weights = torch.ones_like(phases) if weights is None else weights.expand_as(phases)
    if not bool(phases.isfinite().all()):
        raise ValueError("phases must be finite")
    if not bool(weights.isfinite().all() & (weights >= 0).all() & (weights.sum(-1) > 0).all()):
        raise ValueError("weights must be finite, none below 0, and not all 0")
    placed, order = (phases / TURN).remainder(1).sort(-1)
    upper = (weights / weights.sum(-1, keepdim=True)).gather(-1, order).cumsum(-1)
    shares = upper.diff(dim=-1, prepend=torch.zeros_like(upper[..., :1]))
    x = (torch.arange(points, dtype=phases.dtype, device=phases.device) + 0.5) / points
    moved = x - _cut(placed, shares)
    inside = moved.remainder(1)
    at = torch.searchsorted(upper, inside.contiguous(), right=True).clamp(max=phases.shape[-1] - 1)
    return TURN * (placed.gather(-1, at) + (moved - inside).round() - x)


def _cut(placed: Tensor, shares: Tensor) -> Tensor:
    """alpha, where the optimal transport cuts the circle: int_0^1 Q(u) du is the mean of the phases, in turns."""
    return (shares * placed).sum(-1, keepdim=True) - 0.5


def embedded_distance(first: Tensor, second: Tensor) -> Tensor:
    """The root mean square arc between two embeddings [..., points], which broadcast: [...], in radians."""
    return arc(first - second).square().mean(-1).sqrt()


def circular_distance(first: Tensor, second: Tensor) -> Tensor:
    """The exact Wasserstein distance of order 2, in radians, between two sets of n phases each, [..., n]: [...].

    An optimal coupling keeps the order around the circle (Rabin et al. 2011), so it is one of n turns of one sorted set against
    the other. O(n^2). Raises ValueError for sets of different sizes.
    """
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"both sets must have as many phases, got {first.shape[-1]} and {second.shape[-1]}")
    n = first.shape[-1]
    one, other = (x.remainder(TURN).sort(-1).values for x in (first, second))
    turns = torch.cat([other - TURN, other, other + TURN], dim=-1).unfold(-1, n, 1)  # [..., 2 n + 1, n]
    return (one[..., None, :] - turns).square().mean(-1).amin(-1).sqrt()


def arc(angle: Tensor) -> Tensor:
    """The angle in [-pi, pi)."""
    return (angle + math.pi).remainder(TURN) - math.pi
