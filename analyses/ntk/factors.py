"""What a model's gradient in one parameter is kept as, sample by sample.

    Outer      rows_i = sum_t l_it r_it^T      a matrix that is multiplied: what went in, and the gradient of what came out
    Scattered  rows_i[v] = sum_{t: id_it = v} g_it     a table that is looked up
    Dense      rows_i as they are

`inner_products` multiplies two sets of them, `pieces` has rows that come in several pieces as one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .products import batched_product
from .sparse_product import some_nonzero

LARGEST_TILE = 2**20  # numbers of rows that are formed for their sums, or of products at once


class Rows(ABC):
    """The gradients of N samples in one parameter, as their inner products need them."""

    def dense(self) -> Tensor:
        """The rows as real numbers, [N, numbers]; a complex parameter has two numbers an entry."""
        rows = torch.empty(self.samples, self.width, dtype=torch.float64, device=self.device)
        self.fill(rows)
        return rows

    @abstractmethod
    def fill(self, rows: Tensor) -> None:
        """Write the rows into a tensor of their shape."""

    def as_short(self) -> Rows:
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


class Factor(Rows):
    """The gradients of N samples in one parameter as one pass says them."""

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


def as_real(rows: Tensor) -> Tensor:
    """Write rows as real numbers, [N, numbers]; a complex parameter becomes two of them."""
    return (torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows).reshape(len(rows), -1)
