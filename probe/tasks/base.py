"""What every task gives: batches with a target and ground-truth labels at every position."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from ...kernels.shown import with_shapes
from ..configuration import Configuration
from ..errors import StatescopeError
from ..plugins import Kinds
from .spelling import Spelling, WholeNumbers

Split = Literal["train", "validation", "test"]
IGNORED = -100  # a target that no loss counts


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets and labels.

    tokens, targets: [B, T], whole numbers; a target of -100 is not counted. Or real numbers [B, T, .]; a target of nan is not
        counted.
    labels: name -> [B, T] whole numbers: what is true after each token.
    groups: [B], which source (file, document, draw) a sequence comes from; folds, intervals and nulls hold or resample whole
        groups. A number means one source in every batch and capture, so it is never a count that begins anew in each batch:
        `group_of` gives that of a source in a table or list. Left out, each sequence is its own source, known by its content
        (`content_groups`), so that a sequence that is drawn twice is one source wherever it turns up.
    """

    tokens: Tensor
    targets: Tensor
    labels: dict[str, Tensor] = field(default_factory=dict)
    groups: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        if not len(self.groups):
            object.__setattr__(self, "groups", content_groups(self.tokens))
        if self.groups.shape != self.tokens.shape[:1]:
            raise ValueError(f"groups is {tuple(self.groups.shape)}; {len(self.tokens)} sequences need one group each")
        for name, label in self.labels.items():
            if not isinstance(label, Tensor) or label.shape[:2] != self.tokens.shape[:2]:
                given = tuple(label.shape) if isinstance(label, Tensor) else f"a {type(label).__name__}"
                raise ValueError(
                    f"label {name!r} is {given}; a batch needs a tensor with a number for each token, "
                    f"{tuple(self.tokens.shape[:2])}. `capture(model, sequences, labels=...)` takes one a sequence, and text"
                )


@dataclass(frozen=True)
class Task(Configuration, Kinds, family="task"):
    """Base of the tasks. A task is a frozen description; batches depend on nothing but it and the generator."""

    label_names: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of tokens, in and out; of a task of real numbers, how many come out at a position."""

    @property
    def inputs(self) -> int:
        """Real numbers that come in at a position; 0 where tokens are whole numbers."""
        return 0

    @property
    def spelling(self) -> Spelling:
        """How a person writes a sequence of the task: as numbers, where the task says nothing else."""
        return WholeNumbers(self.vocabulary)

    def example(self, length: int) -> str:
        """A sequence to begin with, of about that length, as a person would write it.

        Raises ValueError for a length that the task cannot give, and for a task of real numbers.
        """
        if self.inputs:
            raise ValueError(f"the task {self.kind} gives real numbers, which are not typed")
        return self.spelling.write(self.batch(1, length, "test", generator_for(0)).tokens[0].tolist())

    def labels_of(self, tokens: Tensor) -> dict[str, Tensor]:
        """What is true after each token of any one sequence [T], by name; of tasks that can tell it from the tokens alone."""
        return {}

    @property
    def automaton_table(self) -> Tensor | None:
        """Where the target after each token is the state of a finite automaton that begins in state 0: to which state each token
        leads, [states, tokens]. None for a task that is no such.
        """
        return None

    @abstractmethod
    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        """Draw `size` sequences of `length` tokens. labels: fill in `labels` too, where that costs something.

        Raises ValueError for a size or length that the task cannot give, EmptySplitError where the split has no sequence.
        """


SHARES: dict[Split, range] = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}
ENOUGH = 400  # different rows: that none of so many is of a split with a tenth of all has the chance 0.9^400 = 5e-19
PATIENCE = 60  # draws a row seen: that one of n equally likely rows is missed by 60 n draws has the chance e^-60


class EmptySplitError(StatescopeError, ValueError):
    """A split to which no possible sequence belongs."""


def check_request(size: int, length: int) -> None:
    """Raise ValueError for a batch of no sequences, or of no tokens."""
    if size < 1 or length < 1:
        raise ValueError(f"a batch has at least 1 sequence of at least 1 token, got size {size} and length {length}")


class Drawing:
    """Drawing rows until enough of them belong to a split, which ends: where none does, that is found out.

    Each possible row is in one split, by a digest of its entries, so a task with few possible rows may have none for a split. The
    rows seen are counted until one belongs: once there are 60 draws for each different one, or for 400 of them, no other is
    likely, and EmptySplitError is raised. Every loop that draws and rejects goes through here.
    """

    def __init__(self, size: int, split: Split) -> None:
        check_request(size, 1)
        self.size, self.split = size, split
        self.kept: list[Tensor] = []
        self.draws = 0
        self.seen: set[bytes] = set()

    @property
    def missing(self) -> int:
        """Rows that are still to be found."""
        return self.size - sum(map(len, self.kept))

    def offer(self, rows: Tensor, by: Tensor | None = None) -> Tensor:
        """Take of some drawn rows [n, ...] those of the split, as booleans [n].

        by: what decides on each row, [n, ...]; without it the row itself.
        """
        entries = (rows if by is None else by).flatten(1)
        if not entries.shape[1]:
            raise ValueError("sequences of no tokens have no splits; length must be at least 1")
        share, digest = SHARES[self.split], digest_of(entries)
        belongs = (digest >= share.start) & (digest < share.stop)
        self.kept.append(rows[belongs])
        if self.missing == self.size:
            self.draws += len(rows)
            self.seen.update(row.tobytes() for row in entries.numpy())
            if self.draws >= PATIENCE * min(len(self.seen), ENOUGH):
                raise EmptySplitError(
                    f"no {self.split} sequence is possible: of {self.draws} draws, {len(self.seen)} of them different, none "
                    f"belongs to the {self.split} split. Each possible sequence is in one split, by its digest, and here there "
                    "are too few; take longer sequences, or more symbols"
                )
        return belongs

    @property
    def rows(self) -> Tensor:
        """The rows of the split, [size, ...]."""
        return torch.cat(self.kept)[: self.size]


def draw_split(draw: Callable[[int], Tensor], size: int, split: Split) -> Tensor:
    """`size` rows of numbers [size, ...] that belong to a split: each possible row is in one, by a digest of its entries.

    draw: gives that many random rows. 80% of the possible rows are for training, 10% for validation, 10% to test. Raises
    EmptySplitError where no possible row is of the split, ValueError for a size or rows of length 0.
    """
    drawing = Drawing(size, split)
    while drawing.missing > 0:
        drawing.offer(draw(max(8, int(1.2 * size * 10 / len(SHARES[split])))))
    return drawing.rows


def digest_of(rows: Tensor) -> Tensor:
    """A number from 0 to 9 for each row, the same on every machine; real numbers by their bits in double precision."""
    if rows.is_floating_point():
        rows = rows.double().view(torch.int64)
    mixed = torch.full((len(rows),), 0x1B873593, dtype=torch.int64)
    for column in rows.unbind(1):
        mixed = (mixed ^ (column + 0x9E3779B9)) * 0x5BD1E9955BD1E995
        mixed = mixed ^ (mixed >> 29)
    return (mixed >> 7).remainder(10)


def content_groups(rows: Tensor) -> Tensor:
    """A 63-bit number [B] for the content of each row [B, ...], the same on every machine; equal rows have equal numbers."""
    rows = rows.detach().cpu().flatten(1)
    whole = rows.double().view(torch.int64) if rows.is_floating_point() else rows.long()
    place = torch.arange(1, whole.shape[1] + 1) * _ODD
    return _mixed(_mixed(whole + place).sum(1) + whole.shape[1]) & (2**63 - 1)


_ODD = 0x1E3779B97F4A7C15


def _mixed(number: Tensor) -> Tensor:
    """Every bit of the result depends on every bit of the number; the products wrap around."""
    for odd in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
        number = (number ^ ((number >> 30) & (2**34 - 1))) * odd
    return number ^ ((number >> 31) & (2**33 - 1))


def group_of(source: Any) -> int:
    """The group of a source, the same in every batch, split, file and capture.

    A whole number of 64 bits is its own group, however its column spells it: 1, 1.0, "1" and "1.0" are one source, for a column
    of numbers turns into floats, and then into text, by a missing one beside them. "01" and "1.5" are names. A name (a path), and
    any other number, is 63 bits of the digest of its spelling. True is the name "True".

    Raises TypeError for what is no name or finite number, and for a missing one (`is_missing`): what a source without a name is
    known by is for the caller to say. Raises ValueError for a whole float so large (2^53 in double precision) that it stands for
    several numbers.
    """
    if is_missing(source) or not isinstance(source, str | Real | Decimal | np.bool_):
        raise TypeError("it must be one name or number")
    spelt = str(source)
    if isinstance(source, float | np.floating) and not np.isfinite(source):
        raise TypeError("it must be one name or number, and finite")
    if isinstance(source, float | np.floating) and float(source).is_integer():
        if abs(float(source)) >= 2 / float(np.finfo(type(source)).eps):
            raise ValueError("several whole numbers round to this float; store the group as a whole number or text")
        spelt = str(int(source))
    if whole := _WHOLE.fullmatch(spelt):
        spelt = whole[1]
        if len(spelt) <= 20 and -(2**63) <= int(spelt) < 2**63:
            return int(spelt)
    return int.from_bytes(hashlib.sha256(spelt.encode()).digest()[:8], "big") >> 1


_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")


def is_missing(value: Any) -> bool:
    """Whether a field is empty: None, NaN of any type, NaT, pd.NA, or ""."""
    return (isinstance(value, str) and not value) or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def generator_for(*parts: int) -> Generator:
    """A generator seeded by several numbers, such as (seed, step): drawing needs no state to be stored for a resume."""
    mixed = 0x9E3779B97F4A7C15
    for part in parts:
        mixed = ((mixed ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed >> 1)
