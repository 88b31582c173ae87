"""Inner products of two sets of rows of one parameter.

Of rows that are sums of T outer products there are two exact routes, with n and m samples of T and S positions:

    gram      sum_ts (l_it . l_js)(r_it . r_js),   n m T S (d_l + d_r) products
    rows      <sum_t l_it r_it^T, sum_s l_js r_js^T>,   (n T + m S + n m) d_l d_r products

With many samples the second is cheaper for sequences longer than T* = sqrt(d_l d_r / (d_l + d_r)); `inner` takes the cheaper by
these counts. Where few of the vectors on one side differ, as those that are computed from single tokens of a small vocabulary,
both routes take their coordinates in the span of these few, whose inner products are the same (`coordinates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from .factors import LARGEST_TILE, Outer, Rows, Scattered
from .products import with_itself


def inner(first: Rows, second: Rows) -> Tensor:
    """The inner products of two sets of rows, [N, M], by the cheaper exact route."""
    if first is second:
        first = second = first.as_short()
    if isinstance(first, Outer) and isinstance(second, Outer) and gram_is_cheaper(first, second):
        return _gram(first, second)
    if isinstance(first, Scattered) and isinstance(second, Scattered):
        tokens = first.ids.shape[1] * second.ids.shape[1]
        if first.samples * second.samples * tokens <= LARGEST_TILE and tokens < first.count:
            same = first.ids[:, :, None, None] == second.ids
            found: Tensor = (torch.tensordot(first.gradient, second.gradient, ([2], [2])) * same).sum((1, 3))
            return found
    rows = first.dense()
    return with_itself(rows) if first is second else rows @ second.dense().mT


def inner_of_all(first: Sequence[Rows], second: Sequence[Rows]) -> Tensor:
    """The inner products between the rows of several outputs, [N, O, M, O]. first, second: one of each output, alike."""
    same = first is second
    one, other = first[0], second[0]
    outer = all(isinstance(factor, Outer) for factor in (*first, *second))
    if outer and gram_is_cheaper(cast(Outer, one), cast(Outer, other), len(first)):
        return torch.stack([torch.stack([inner(own, its) for its in second], dim=2) for own in first], dim=1)
    rows = torch.stack([factor.dense() for factor in first], dim=1)  # [N, O, numbers]
    if same:
        return with_itself(rows.flatten(0, 1)).view(*rows.shape[:2], *rows.shape[:2])
    columns = torch.stack([factor.dense() for factor in second], dim=1)
    products: Tensor = torch.tensordot(rows, columns, ([2], [2]))
    return products


def gram_is_cheaper(first: Outer, second: Outer, outputs: int = 1) -> bool:
    """Whether the gram route takes fewer products than the rows', by the counts of this module's docstring.

    outputs: of each sample, all of which are multiplied with all.
    """
    left, right = first.sizes
    n, m = first.samples * outputs, second.samples * outputs
    gram = n * m * first.tokens * second.tokens * (left + right)
    rows = (n * first.tokens + (0 if first is second else m * second.tokens) + n * m) * left * right
    return gram <= rows


def _gram(first: Outer, second: Outer) -> Tensor:
    """The gram route, as many rows of the matrix at a time as keep a tile [n, T, M, S] small."""

    def product(rows: slice, columns: slice) -> Tensor:
        left = _between(first.left[rows], second.left[columns])
        found: Tensor = left.mul_(_between(first.right[rows], second.right[columns])).sum((1, 3))
        return found

    step = max(1, LARGEST_TILE // max(1, first.tokens * second.samples * second.tokens))
    if step >= first.samples:
        return product(slice(first.samples), slice(second.samples))
    same = first is second  # of whose symmetric matrix the lower half is a copy of the upper
    found = torch.empty(first.samples, second.samples, dtype=torch.float64, device=first.device)
    for start in range(0, first.samples, step):
        rows, columns = slice(start, start + step), slice(start if same else 0, second.samples)
        found[rows, columns] = block = product(rows, columns)
        if same:
            found[columns, rows] = block.mT
    return found


def _between(one: Tensor, other: Tensor) -> Tensor:
    """All products [n, T, m, S] of vectors [n, T, d] with vectors [m, S, d]."""
    if one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride():
        return with_itself(one.flatten(0, 1)).view(*one.shape[:2], *one.shape[:2])
    products: Tensor = torch.tensordot(one, other, ([2], [2]))
    return products
