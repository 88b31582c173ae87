"""Products of which few inputs differ, with these inputs in the span of the few.

Coordinates have the right inner products with those in the same basis alone. A model may branch by its samples, so that one pass
multiplies with a parameter where another does not: coordinates are given and kept where all passes do the same with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .factors import Factor, Outer
from .uses import Multiplied, Use

SEEN = 8  # channels that are looked at first: behind a ReLU half of each is zero


def in_coordinates(passes: Sequence[Sequence[Use]]) -> list[list[Use]]:
    """The uses of each pass over samples, products of which few inputs differ with these in one basis for all passes.

    Those with a parameter that is used at another place too stay as they are: its rows add up what has two bases.
    """
    found = [list(uses) for uses in passes]
    if len({len(uses) for uses in passes}) == 1:
        met = Counter(name for uses in passes for use in uses for name in use.weight.leaves)
        for place, alike in enumerate(zip(*passes, strict=True)):
            if any(met[name] > len(passes) for use in alike for name in use.weight.leaves):
                continue
            for own, use in zip(found, _in_one_basis(alike), strict=True):
                own[place] = use
    return found


def comparable(parts: Sequence[Factor | None]) -> list[Factor | None]:
    """The rows of one parameter in each pass, with coordinates where every pass has some."""
    if all(isinstance(part, Outer) and part.shorter is not None for part in parts):
        return list(parts)
    return [replace(part, shorter=None) if isinstance(part, Outer) else part for part in parts]


def _in_one_basis(uses: Sequence[Use]) -> Sequence[Use]:
    products = [use for use in uses if isinstance(use, Multiplied) and use.outer]
    alike = {(tuple(use.weight.leaves), use.weight.straight, use.inputs.shape[-1]) for use in products}
    if len(products) < len(uses) or len(alike) > 1:
        return uses
    flat = [use.inputs.flatten(0, -2) for use in products]
    short = coordinates(torch.cat(flat).double())
    if short is None:
        return uses
    return [replace(use, coordinates=own) for use, own in zip(products, short.split(list(map(len, flat))), strict=True)]


def coordinates(vectors: Tensor) -> Tensor | None:
    """Vectors [R, m] in an orthonormal basis of the span of those that differ, [R, r]; None where r is over m / 2 or R / 2."""
    most = min(vectors.shape) // 2
    if int(vectors[:, :SEEN].sum(1).sort().values.diff().count_nonzero()) >= most:
        return None  # a few channels say it of most
    distinct, which = vectors.unique(dim=0, return_inverse=True)
    return None if len(distinct) > most else torch.linalg.qr(distinct.mT, mode="r").R.mT[which]
