"""Rows of one parameter that come in pieces, through several uses or in several passes over samples, as one factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from .factors import Dense, Factor, Outer, Rows, Scattered
from .inner_products import gram_is_cheaper


@dataclass(frozen=True)
class Pieces(Rows):
    """Factors of rows of equal length, one after another. The rows are formed where they are wanted, in one tensor."""

    parts: tuple[Rows, ...]

    @property
    def samples(self) -> int:
        return sum(part.samples for part in self.parts)

    @property
    def width(self) -> int:
        return self.parts[0].width

    @property
    def numbers(self) -> int:
        return sum(part.numbers for part in self.parts)

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def fill(self, rows: Tensor) -> None:
        for part, own in zip(self.parts, rows.split([part.samples for part in self.parts]), strict=True):
            part.fill(own)

    def as_short(self) -> Rows:
        return Pieces(tuple(part.as_short() for part in self.parts))


def joined(parts: Sequence[Factor | None], lengths: Sequence[int]) -> Rows:
    """The rows of all samples. parts: those of each pass; None, of zeros, where nothing depends on the parameter there.

    lengths: the samples of each pass. What is small, or is to be multiplied by the gram route, is one factor of its kind.
    """
    some = next(part for part in parts if part is not None)
    here = [part or zeros(some, length) for part, length in zip(parts, lengths, strict=True)]
    if len(here) == 1:
        return here[0]
    if all(isinstance(part, Dense) for part in here):
        return Dense(torch.cat([part.dense() for part in here]))
    if all(isinstance(part, Scattered) for part in here):
        looked_up = cast(list[Scattered], here)
        if len({part.ids.shape[1] for part in looked_up}) == 1:
            ids, gradients = [part.ids for part in looked_up], [part.gradient for part in looked_up]
            return Scattered(torch.cat(ids), torch.cat(gradients), looked_up[0].count)
    if all(isinstance(part, Outer) for part in here):
        outer = cast(list[Outer], here)
        alike = len({(part.tokens, part.sizes, part.shorter is None) for part in outer}) == 1
        if alike and gram_is_cheaper(outer[0].as_short(), outer[0].as_short(), len(here)):
            shorter = [part.shorter for part in outer if part.shorter is not None]
            return Outer(
                torch.cat([part.left for part in outer]),
                torch.cat([part.right for part in outer]),
                (torch.cat([left for left, _ in shorter]), torch.cat([right for _, right in shorter])) if shorter else None,
            )
    return Pieces(tuple(here))


def zeros(like: Rows, samples: int) -> Dense:
    """Rows of zeros, as long as those of another factor."""
    return Dense(torch.zeros(samples, like.width, dtype=torch.float64, device=like.device))


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


def _kind(factor: Factor) -> str:
    return type(factor).__name__
