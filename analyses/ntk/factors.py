"""What a model's gradient in one parameter is kept as, sample by sample, and the inner products of two sets of them.

    Outer      rows_i = sum_t l_it r_it^T      a matrix that is multiplied: what went in, and the gradient of what came out
    Scattered  rows_i[v] = sum_{t: id_it = v} g_it     a table that is looked up
    Dense      rows_i as they are

The inner product of two rows that are sums of T outer products has two exact routes, with n and m samples of T and S positions:

    gram      sum_ts (l_it . l_js)(r_it . r_js),   n m T S (d_l + d_r) products
    rows      <sum_t l_it r_it^T, sum_s l_js r_js^T>,   (n T + m S + n m) d_l d_r products

With many samples the second is cheaper for sequences longer than T* = sqrt(d_l d_r / (d_l + d_r)); `inner` takes the cheaper by
these counts. Positions at which nothing arrives, as all but the last in what follows the last mixer, are left out first. Where
few of the vectors on one side differ, as those that are computed from single tokens of a small vocabulary, both routes take their
coordinates in the span of these few, whose inner products are the same (`coordinates`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from .products import batched_product, with_itself
from .sparse_product import some_nonzero

LARGEST_TILE = 2**20  # numbers in a tile of the gram route, or in rows that are formed for their sums
SEEN = 8  # channels that are looked at first: behind a ReLU half of each is zero
AT_ONCE = 32  # columns: so many directions in the parameters are held


class Factor(ABC):
    """The gradients of N samples in one parameter."""

    def dense(self) -> Tensor:
        """The rows as real numbers, [N, numbers]; a complex parameter has two numbers an entry."""
        rows = torch.empty(self.samples, self.width, dtype=torch.float64, device=self.device)
        self.fill(rows)
        return rows

    @abstractmethod
    def fill(self, rows: Tensor) -> None:
        """Write the rows into a tensor of their shape."""

    @abstractmethod
    def pulled(self, weights: Tensor) -> Tensor:
        """Sums of the rows with weights [N, m] of the samples, [numbers, m]."""

    @abstractmethod
    def along(self, directions: Tensor) -> Tensor:
        """The slopes of each sample along directions [numbers, m] in the parameter, [N, m]."""

    @abstractmethod
    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """left^T R_i right of each sample's row seen as a matrix R_i [m, n], [N]. left: [m], right: [n]."""

    @abstractmethod
    def smallest(self) -> Factor:
        """The same in whatever form takes the least memory."""

    @abstractmethod
    def bound(self) -> Tensor:
        """At least the sum of the norms of the rows: the scale that no cancellation makes small."""

    def alive(self) -> Factor:
        """The same without positions at which nothing arrives, where it has positions."""
        return self

    def as_short(self) -> Factor:
        """Other rows that have the same inner products with one another, and the fewest numbers."""
        return self

    @property
    @abstractmethod
    def samples(self) -> int:
        """The number of samples is N."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The numbers of a row."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many numbers are held."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the rows."""


@dataclass(frozen=True)
class Dense(Factor):
    """Rows as they are, [N, ...]."""

    rows: Tensor

    @property
    def samples(self) -> int:
        return len(self.rows)

    @property
    def numbers(self) -> int:
        return self.rows.numel()

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @property
    def width(self) -> int:
        return as_real(self.rows).shape[1]

    def dense(self) -> Tensor:
        return as_real(self.rows)

    def fill(self, rows: Tensor) -> None:
        rows.copy_(self.dense())

    def pulled(self, weights: Tensor) -> Tensor:
        return self.dense().mT @ weights

    def along(self, directions: Tensor) -> Tensor:
        return self.dense() @ directions

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        found: Tensor = self.dense().unflatten(1, (len(left), len(right))) @ right @ left
        return found

    def smallest(self) -> Factor:
        return self

    def bound(self) -> Tensor:
        bound: Tensor = self.dense().norm(dim=1).sum()
        return bound


@dataclass(frozen=True)
class Outer(Factor):
    """Sums of outer products: left [N, T, m] and right [N, T, n], real, to rows [N, m n].

    shorter: (left, right) with the coordinates of one side in place of it; None where it has none that are shorter.
    """

    left: Tensor
    right: Tensor
    shorter: tuple[Tensor, Tensor] | None = None

    @property
    def samples(self) -> int:
        return len(self.left)

    @property
    def numbers(self) -> int:
        return self.left.numel() + self.right.numel()

    @property
    def device(self) -> torch.device:
        return self.left.device

    @property
    def tokens(self) -> int:
        return self.left.shape[1]

    @property
    def sizes(self) -> tuple[int, int]:
        return self.left.shape[-1], self.right.shape[-1]

    @property
    def width(self) -> int:
        return self.sizes[0] * self.sizes[1]

    def fill(self, rows: Tensor) -> None:
        batched_product(self.left.mT.to(rows.dtype), self.right.to(rows.dtype), rows.unflatten(1, self.sizes))

    def pulled(self, weights: Tensor) -> Tensor:
        if weights.shape[1] > 1 and self.tokens > 1:
            return torch.stack([rows.mT @ weights[places] for places, rows in self._pieces()]).sum(0)
        left, right = self.left.flatten(0, 1), self.right
        each = [left.mT @ (right * column[:, None, None]).flatten(0, 1) for column in weights.unbind(1)]
        return torch.stack([product.flatten() for product in each], dim=1)

    def along(self, directions: Tensor) -> Tensor:
        if directions.shape[1] > 1 and self.tokens > 1:
            return torch.cat([rows @ directions for _, rows in self._pieces()])
        matrices = (column.reshape(self.sizes) for column in directions.unbind(1))
        return torch.stack([((self.right @ matrix.mT) * self.left).sum((1, 2)) for matrix in matrices], dim=1)

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        return ((self.left.double() @ left) * (self.right.double() @ right)).sum(1)

    def _pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """The rows of a few samples at a time: with several columns they are formed once for all of them."""
        step = max(1, LARGEST_TILE // (self.sizes[0] * self.sizes[1]))
        for start in range(0, self.samples, step):
            places = slice(start, start + step)
            yield places, Outer(self.left[places], self.right[places]).dense()

    def smallest(self) -> Factor:
        left, right = self.sizes
        alive = self.alive()
        return Dense(alive.dense()) if left * right < alive.tokens * (left + right) else alive

    def bound(self) -> Tensor:
        bound: Tensor = (self.left.norm(dim=-1) * self.right.norm(dim=-1)).sum()
        return bound

    def alive(self) -> Outer:
        """Leave out the positions at which one side is zero in every sample; one position alone is as good as none."""
        if self.tokens == 1:
            return self
        unsure = [side for side in (self.left, self.right) if not bool(side[0, :, 0].all())]  # one channel of one says it of most
        dead = [~some_nonzero(side).any(0) for side in unsure]
        if not any(bool(own.any()) for own in dead):
            return self
        kept = ~torch.stack(dead).any(0)
        shorter = None if self.shorter is None else (self.shorter[0][:, kept], self.shorter[1][:, kept])
        return Outer(self.left[:, kept], self.right[:, kept], shorter)

    def as_short(self) -> Outer:
        return self if self.shorter is None else Outer(*self.shorter)


@dataclass(frozen=True)
class Scattered(Factor):
    """Gradients [N, T, d] at the rows `ids` [N, T] of a table of `count` rows, to rows [N, count d]."""

    ids: Tensor
    gradient: Tensor
    count: int

    @property
    def samples(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> int:
        return self.ids.numel() + self.gradient.numel()

    @property
    def device(self) -> torch.device:
        return self.gradient.device

    @property
    def width(self) -> int:
        return self.count * self.gradient.shape[-1]

    def fill(self, rows: Tensor) -> None:
        number, size = len(self.ids), self.gradient.shape[-1]
        places = self.ids + torch.arange(number, device=self.ids.device)[:, None] * self.count
        rows.zero_().view(number * self.count, size).index_add_(0, places.flatten(), self.gradient.flatten(0, 1).to(rows.dtype))

    def pulled(self, weights: Tensor) -> Tensor:
        empty, ids = self.gradient.new_zeros(self.count, self.gradient.shape[-1]), self.ids.flatten()
        each = (self.gradient * column[:, None, None] for column in weights.unbind(1))
        return torch.stack([empty.index_add(0, ids, own.flatten(0, 1)).flatten() for own in each], dim=1)

    def along(self, directions: Tensor) -> Tensor:
        tables = (column.reshape(self.count, -1) for column in directions.unbind(1))
        return torch.stack([(self.gradient * table[self.ids]).sum((1, 2)) for table in tables], dim=1)

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        return ((self.gradient.double() @ right) * left[self.ids]).sum(1)

    def smallest(self) -> Factor:
        of_dense, of_each = self.count * self.gradient.shape[-1], self.ids.shape[1] * (self.gradient.shape[-1] + 1)
        return Dense(self.dense()) if of_dense < of_each else self

    def bound(self) -> Tensor:
        bound: Tensor = self.gradient.norm(dim=-1).sum()
        return bound


def together(factors: Sequence[Factor]) -> Factor:
    """The gradient of a parameter that is used several times: the sum of those through each use.

    Outer products and looked-up rows stand one after another along their positions, so that nothing is formed.
    """
    alike = [list(group) for _, group in groupby(sorted(factors, key=_kind), key=_kind)]
    if len(factors) == 1:
        return factors[0]
    if len(alike) == 1 and isinstance(factors[0], Outer):
        outer = cast(list[Outer], alike[0])
        return Outer(torch.cat([own.left for own in outer], 1), torch.cat([own.right for own in outer], 1))
    if len(alike) == 1 and isinstance(factors[0], Scattered):
        looked_up = cast(list[Scattered], alike[0])
        ids, gradients = [own.ids for own in looked_up], [own.gradient for own in looked_up]
        return Scattered(torch.cat(ids, 1), torch.cat(gradients, 1), looked_up[0].count)
    return Dense(torch.stack([factor.dense() for factor in factors]).sum(0))


def side_by_side(factors: Sequence[Factor]) -> list[Factor]:
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


def coordinates(vectors: Tensor) -> Tensor | None:
    """Vectors [R, m] in an orthonormal basis of the span of those that differ, [R, r]; None where r is over m / 2 or R / 2."""
    most = min(vectors.shape) // 2
    if int(vectors[:, :SEEN].sum(1).sort().values.diff().count_nonzero()) >= most:
        return None  # a few channels say it of most
    distinct, which = vectors.unique(dim=0, return_inverse=True)
    return None if len(distinct) > most else torch.linalg.qr(distinct.mT, mode="r").R.mT[which]


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one part of one memory, or copies of it, as those of the positions that are alive."""
    if one.shape != other.shape:
        return False
    return (one.data_ptr() == other.data_ptr() and one.stride() == other.stride()) or torch.equal(one, other)


def _kind(factor: Factor) -> str:
    return type(factor).__name__


def inner(first: Factor, second: Factor) -> Tensor:
    """The inner products of two sets of rows, [N, M], by the cheaper exact route."""
    if first is second:
        first = second = first.alive().as_short()
    else:
        first, second = first.alive(), second.alive()
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


def inner_of_all(first: Sequence[Factor], second: Sequence[Factor]) -> Tensor:
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


def as_real(rows: Tensor) -> Tensor:
    """Write rows as real numbers, [N, numbers]; a complex parameter becomes two of them."""
    return (torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows).reshape(len(rows), -1)
