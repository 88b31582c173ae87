"""Sparse averaging: each position asks for the mean of a few vectors (Sanford et al. 2023, arXiv:2306.02896)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .base import Batch, Split, Task, draw_split


@dataclass(frozen=True)
class SparseAveraging(Task, kind="sparse_averaging"):
    """Position t holds a vector z_t on the unit sphere, its own place, and `active` places up to its own; the target is the mean
    of the vectors there. Softmax attention does this in one layer of O(active log T) numbers a token; a state of fixed size that
    reads each vector before it is asked for must hold all of them.

    size: of z. longest: the longest sequence, which the places are one-hot in: a position is size + 2 longest numbers, z_t, the
    place of t, and the places asked for, 1 / active each. A place may be asked for more than once.
    """

    active: int = 3
    """Each position asks for so many places."""
    size: int = 4
    """Each vector z has so many numbers."""
    longest: int = 64
    """No sequence is longer; places are one-hot in it."""

    def __post_init__(self) -> None:
        if min(self.active, self.size, self.longest) < 1:
            raise ValueError("active, size and longest must be at least 1")

    @property
    def vocabulary(self) -> int:
        return self.size

    @property
    def inputs(self) -> int:
        return self.size + 2 * self.longest

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        if not 1 <= length <= self.longest:
            raise ValueError(f"length {length} must be from 1 to longest, {self.longest}")

        def draw(count: int) -> Tensor:
            z = torch.randn(count, length, self.size, generator=generator, dtype=torch.float64)
            places = torch.rand(count, length, self.active, generator=generator, dtype=torch.float64)
            return torch.cat([functional.normalize(z, dim=-1), places], dim=-1)

        z, drawn = draw_split(draw, size, split).split([self.size, self.active], dim=-1)
        asked = (drawn * torch.arange(1, length + 1)[:, None]).long()
        share = functional.one_hot(asked, self.longest).sum(2).double() / self.active
        own = torch.eye(self.longest, dtype=torch.float64)[:length].expand(size, -1, -1)
        mean = share[..., :length] @ z
        return Batch(torch.cat([z, own, share], dim=-1).float(), mean.float())
