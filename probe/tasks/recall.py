"""Recall from the context: associative recall of many pairs, induction heads, and selective copying."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .base import IGNORED, Batch, Split, Task, draw_split


@dataclass(frozen=True)
class AssociativeRecall(Task, kind="associative_recall"):
    """Multi-query associative recall (Arora et al. 2023, arXiv:2312.04927): `pairs` of a key and a value, then keys again among
    filler, in any order. Keys are the tokens 1 .. symbols, values the next `symbols`, 0 is filler. At a key that comes again the
    target is its value. Labels: "pair", which pair is asked for, -1 elsewhere; "first_value", the value of the first pair, from
    0, -1 before it is said.

    Where some pairs are `overwritten`, their keys come first with other values, which a memory has to take back.
    """

    pairs: int = 8
    """A sequence begins with so many pairs."""
    symbols: int = 32
    """There are so many keys, and as many values."""
    overwritten: int = 0
    """The keys of so many pairs are said before with another value, which no longer counts."""

    label_names = ("pair", "first_value")

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= self.symbols:
            raise ValueError(f"pairs={self.pairs} must be from 1 to the {self.symbols} symbols")
        if not 0 <= self.overwritten <= self.pairs:
            raise ValueError(f"overwritten={self.overwritten} must be from 0 to the {self.pairs} pairs")

    @property
    def vocabulary(self) -> int:
        return 1 + 2 * self.symbols

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        n, s, said = self.pairs, self.symbols, 2 * (self.overwritten + self.pairs)
        if length < said + n:
            raise ValueError(f"{n} pairs and their queries need at least {said + n} tokens, got length {length}")

        def draw(count: int) -> Tensor:
            keys = 1 + _choose(count, s, n, generator)
            values = 1 + s + torch.randint(0, s, (count, n), generator=generator)
            order, places = _choose(count, n, n, generator), _choose(count, length - said, n, generator)
            rest = torch.zeros(count, length - said, dtype=torch.long)
            asked = torch.full_like(rest, -1).scatter(1, places, order)
            rest = rest.scatter(1, places, keys.gather(1, order))
            head = torch.stack([keys, values], 2)
            if self.overwritten:
                before = 1 + s + torch.randint(0, s, (count, self.overwritten), generator=generator)
                head = torch.cat([torch.stack([keys[:, : self.overwritten], before], 2), head], 1)
            nothing = torch.full((count, said), -1)
            return torch.stack([torch.cat([head.flatten(1), rest], 1), torch.cat([nothing, asked], 1)], 1)

        tokens, pair = draw_split(draw, size, split).unbind(1)
        counted = tokens[:, said - 2 * n : said]  # the pairs that count
        answers = counted[:, 1::2].gather(1, pair.clamp(min=0))
        first = (counted[:, 1:2] - 1 - s).repeat(1, length)
        first[:, : said - 2 * n + 1] = -1
        return Batch(tokens, torch.where(pair < 0, IGNORED, answers), {"pair": pair, "first_value": first})


@dataclass(frozen=True)
class InductionHeads(Task, kind="induction_heads"):
    """Random tokens in which a special token comes twice, the second time last but one: the target there is what followed it
    first (Fu et al. 2023, arXiv:2212.14052). The special token is the highest. Label "distance": tokens back to the first one.
    """

    symbols: int = 16
    """Ordinary tokens are numbers below this one."""

    label_names = ("distance",)

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        if length < 4:
            raise ValueError(f"two special tokens and what follows them need at least 4 tokens, got length {length}")

        def draw(count: int) -> Tensor:
            tokens = torch.randint(0, self.symbols, (count, length), generator=generator)
            at = torch.randint(0, length - 3, (count, 1), generator=generator)
            tokens = tokens.scatter(1, at, self.symbols)
            tokens[:, -2] = self.symbols
            tokens[:, -1:] = tokens.gather(1, at + 1)
            return torch.cat([tokens, at], 1)

        drawn = draw_split(draw, size, split)
        tokens, at = drawn[:, :-1], drawn[:, -1]
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -2] = tokens[:, -1]
        distance = torch.full_like(tokens, -1)
        distance[:, -2] = length - 2 - at
        return Batch(tokens, targets, {"distance": distance})


@dataclass(frozen=True)
class SelectiveCopying(Task, kind="selective_copying"):
    """`items` symbols at random places among noise, then as many markers: at each the target is the next symbol in order (Gu and
    Dao 2023, arXiv:2312.00752). Noise is 0, the marker the highest token. Label "held": symbols seen so far.
    """

    items: int = 8
    """So many symbols have to be copied."""
    symbols: int = 8
    """There are so many different symbols."""

    label_names = ("held",)

    @property
    def vocabulary(self) -> int:
        return self.symbols + 2

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        n = self.items
        if length < 2 * n:
            raise ValueError(f"{n} items and their copies need at least {2 * n} tokens, got length {length}")

        def draw(count: int) -> Tensor:
            places = _choose(count, length - n, n, generator).sort(1).values
            items = torch.randint(1, self.symbols + 1, (count, n), generator=generator)
            body = torch.zeros(count, length - n, dtype=torch.long).scatter(1, places, items)
            return torch.cat([body, torch.full((count, n), self.symbols + 1)], 1)

        tokens = draw_split(draw, size, split)
        body = tokens[:, : length - n]
        items = body[body > 0].unflatten(0, (size, n))
        targets = torch.full_like(tokens, IGNORED)
        targets[:, length - n :] = items
        held = (tokens[:, : length - n] > 0).cumsum(1)
        held = torch.cat([held, held[:, -1:].expand(-1, n)], 1)
        return Batch(tokens, targets, {"held": held})


@dataclass(frozen=True)
class Repeat(Task, kind="repeat"):
    """Symbols, a marker, and the symbols again: from the marker on the target is the next symbol (Csordas et al. 2024,
    arXiv:2408.10920). The marker is the highest token. Label "place": which symbol comes next, -1 before the marker.
    """

    symbols: int = 10
    """There are so many different symbols."""

    label_names = ("place",)

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        n = length // 2
        if length % 2 or not n:
            raise ValueError(f"length {length} must be even: so many symbols, a marker, and all but the last of them again")
        said = draw_split(lambda count: torch.randint(0, self.symbols, (count, n), generator=generator), size, split)
        tokens = torch.cat([said, torch.full((size, 1), self.symbols), said[:, :-1]], 1)
        targets = torch.cat([torch.full((size, n), IGNORED), said], 1)
        place = torch.cat([torch.full((n,), -1), torch.arange(n)]).expand(size, -1)
        return Batch(tokens, targets, {"place": place})


def _choose(count: int, among: int, size: int, generator: Generator) -> Tensor:
    """`size` different numbers below `among` in random order, [count, size]."""
    return torch.rand(count, among, generator=generator).argsort(1)[:, :size]
