"""Units of one network matched with those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .measure import SimilarityMeasure, centred


class Matching(NamedTuple):
    """What each unit is matched with.

    partner: for each unit of the first side its match in the second, -1 for none. correlation: with it, NaN for none.
    """

    partner: Tensor
    correlation: Tensor


def match_units(first: Tensor, second: Tensor, *, one_to_one: bool = True) -> Matching:
    """Match the units of two networks by their activations' correlation (Li et al. 2016, arXiv:1511.07543).

    first, second: [n, ...] activations of the same samples.
    one_to_one: each unit is used at most once, and the sum of correlations is the largest possible (bipartite matching). False
        lets several units choose the same one (semi-matching); where it gives much more, one unit here is many there.

    A unit that never changes has no correlation and no match. Raises what a SimilarityMeasure raises.
    """
    correlations = _correlations(centred(first, "first"), centred(second, "second"))
    known = correlations.isfinite()
    filled = correlations.where(known, torch.full_like(correlations, -2.0))
    partner = torch.full((len(correlations),), -1)
    if one_to_one:
        rows, columns = (torch.as_tensor(index) for index in linear_sum_assignment(-filled.numpy()))
        partner[rows] = columns
    else:
        partner = filled.argmax(1)
    found = correlations[torch.arange(len(partner)), partner.clamp(min=0)]
    none = (partner < 0) | ~found.isfinite()
    return Matching(partner.where(~none, torch.full_like(partner, -1)), found.where(~none, torch.full_like(found, torch.nan)))


@dataclass(frozen=True)
class UnitMatching(SimilarityMeasure, kind="unit_matching"):
    """The mean correlation of matched units: 1 only where each unit has its like, so that a rotation lowers it.

    one_to_one: see `match_units`.
    """

    one_to_one: bool = True

    def of(self, first: Tensor, second: Tensor) -> float:
        return float(match_units(first, second, one_to_one=self.one_to_one).correlation.nanmean())


def _correlations(first: Tensor, second: Tensor) -> Tensor:
    """[p, q], NaN for units that never change."""
    norms = [x.norm(dim=0) for x in (first, second)]
    still = [norm <= 1e-10 * norm.max() for norm in norms]
    one, two = (norm.where(~none, torch.full_like(norm, torch.nan)) for norm, none in zip(norms, still, strict=True))
    correlations: Tensor = (first / one).T @ (second / two)
    return correlations
