"""Products of which few inputs differ, with these inputs in the span of the few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .uses import Multiplied, Use

SEEN = 8  # channels that are looked at first: behind a ReLU half of each is zero


def in_coordinates(passes: Sequence[Sequence[Use]]) -> list[list[Use]]:
    """The uses of each pass over samples, products of which few inputs differ with these in one basis for all passes."""
    found = [list(uses) for uses in passes]
    if len({len(uses) for uses in passes}) == 1:
        for place, alike in enumerate(zip(*passes, strict=True)):
            for own, use in zip(found, _in_one_basis(alike), strict=True):
                own[place] = use
    return found


def _in_one_basis(uses: Sequence[Use]) -> Sequence[Use]:
    products = [use for use in uses if isinstance(use, Multiplied) and use.outer]
    if len(products) < len(uses) or len({(tuple(use.weight.leaves), use.inputs.shape[-1]) for use in products}) > 1:
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
