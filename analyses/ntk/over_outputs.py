"""What is small waits for what other outputs say of the same parameter, and is multiplied once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .factors import Dense, Outer, Rows
from .inner_products import inner

SMALL = 2**17  # numbers of gradients that wait for those of other outputs
GATHERED = 2**20  # numbers that wait in all


class Waiting:
    """Factors of both sides that wait for those of other outputs, to be multiplied together."""

    def __init__(self) -> None:
        self._held = 0
        self._pairs: dict[str, list[tuple[Rows, Rows]]] = {}

    @property
    def full(self) -> bool:
        """Whether what waits is to be multiplied now."""
        return self._held > GATHERED

    def take(self, name: str, one: Rows, other: Rows) -> bool:
        """Keep a pair if it is small; False where it is not."""
        size = one.numbers + (0 if other is one else other.numbers)
        if size > SMALL:
            return False
        self._pairs.setdefault(name, []).append((one, other))
        self._held += size
        return True

    def products(self) -> Iterator[tuple[str, Tensor]]:
        """The kernel [N, M] of each parameter over the outputs that waited, which are let go."""
        for name, pairs in self._pairs.items():
            for one, other in together_by_pairs(pairs):
                yield name, inner(one, other)
        self._held, self._pairs = 0, {}


def together_by_pairs(pairs: list[tuple[Rows, Rows]]) -> list[tuple[Rows, Rows]]:
    """Pairs of fewer factors whose inner products add up to the same."""
    left = side_by_side([one for one, _ in pairs])
    if all(one is other for one, other in pairs):
        return [(own, own) for own in left]
    right = side_by_side([other for _, other in pairs])
    return list(zip(left, right, strict=True)) if list(map(_form, left)) == list(map(_form, right)) else pairs


def _form(factor: Rows) -> tuple[type[Rows], tuple[int, int] | None]:
    """What two factors have alike whose rows hold the same numbers in the same order."""
    return type(factor), factor.sizes if isinstance(factor, Outer) else None


def side_by_side(factors: Sequence[Rows]) -> list[Rows]:
    """Rows of several outputs, one factor each, as factors whose inner products add up to the sum of theirs.

    Rows stand one after another. Outer products that share a side, as those of one matrix share what was multiplied, stand side
    by side along the other: the products of the shared side, or the copy of its rows, are then had once for all outputs.
    """
    if len(factors) > 1 and all(isinstance(factor, Dense) for factor in factors):
        return [Dense(torch.cat([factor.dense() for factor in factors], 1))]
    outer = [factor for factor in factors if isinstance(factor, Outer)]
    if len(outer) == len(factors) > 1:
        short = outer[0].shorter
        if all(_same(own.left, outer[0].left) for own in outer):
            right = torch.cat([own.right for own in outer], -1)
            return [Outer(outer[0].left, right, None if short is None else (short[0], right))]
        if all(_same(own.right, outer[0].right) for own in outer):
            left = torch.cat([own.left for own in outer], -1)
            return [Outer(left, outer[0].right, None if short is None else (left, short[1]))]
    return list(factors)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one part of one memory, or copies of it, as those of the positions that are alive."""
    if one.shape != other.shape:
        return False
    return (one.data_ptr() == other.data_ptr() and one.stride() == other.stride()) or torch.equal(one, other)
