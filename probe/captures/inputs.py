"""A user's own sequences as batches: tensors, arrays, lists of different lengths, tables, or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap, TapRequest
from ...kernels.shown import with_shapes
from ..errors import UnknownNameError, unknown_name
from ..tasks.base import IGNORED, Batch, content_groups, group_of, is_missing


@dataclass(frozen=True)
class Inputs:
    """Sequences in batches of one length each.

    batches: what is run. rows: the number of each sequence of each batch, in the user's order. classes: label -> the names that
    its numbers stand for, where labels were given as text.
    """

    batches: list[Batch]
    rows: list[Tensor]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    __repr__ = with_shapes

    @classmethod
    def of_batches(cls, batches: Sequence[Batch]) -> Inputs:
        """Batches as they are, one behind the other."""
        if not batches:
            raise ValueError("there is no batch to capture")
        numbers = torch.arange(sum(len(batch.tokens) for batch in batches))
        return cls(list(batches), list(numbers.split([len(batch.tokens) for batch in batches])))

    @classmethod
    def of(
        cls,
        tokens: Any,
        labels: Mapping[str, Any] | Sequence[str] = (),
        groups: Any = None,
        mask: Any = None,
        *,
        positions: TapRequest,
        size: int,
        encode: Callable[[str], Tensor],
    ) -> Inputs:
        """Read sequences in any of the forms that `capture` takes. encode: the token ids [T] of a text."""
        if hasattr(tokens, "to_pandas"):  # a datasets.Dataset, or a table of another library
            tokens = tokens.to_pandas()
        if isinstance(tokens, pd.DataFrame):
            tokens, labels, groups = _columns(tokens, labels, groups)
        elif not isinstance(labels, Mapping):
            if len(labels):
                raise TypeError("labels are a mapping from name to values; names alone are columns of a table")
            labels = {}
        rows = [_sequence(row, encode) for row in ([tokens] if isinstance(tokens, str) else tokens)]
        if not rows:
            raise ValueError("there is no sequence to capture")
        spans = [slice(0, len(row)) for row in rows] if mask is None else _spans(mask, rows)
        whole = [len(row) for row in rows]
        read = {name: _label(name, values, whole, positions) for name, values in labels.items()}
        sequences = [row[span] for row, span in zip(rows, spans, strict=True)]
        cut = {name: [value[span] for value, span in zip(values, spans, strict=True)] for name, (values, _) in read.items()}
        sources = None if groups is None else _groups(groups, sequences)
        batches, numbers = [], []
        for length in sorted({len(row) for row in sequences}):
            same = torch.tensor([index for index, row in enumerate(sequences) if len(row) == length])
            for part in same.split(size):
                stacked = torch.stack([sequences[index] for index in part.tolist()])
                own = {name: torch.stack([values[index] for index in part.tolist()]) for name, values in cut.items()}
                known = {} if sources is None else {"groups": sources[part]}
                batches.append(Batch(stacked, torch.full(stacked.shape[:2], IGNORED), own, **known))
                numbers.append(part)
        return cls(batches, numbers, {name: names for name, (_, names) in read.items() if names})


def _columns(table: pd.DataFrame, labels: Any, groups: Any) -> tuple[Any, Mapping[str, Any], Any]:
    """Tokens, labels and groups of a table: the columns "tokens" (or "text"), those that are named, and a column of groups."""
    column = next((name for name in ("tokens", "text") if name in table.columns), None)
    if column is None:
        raise UnknownNameError(
            'a table has a row a sequence, and a column "tokens" (its token ids) or "text"; the columns here are '
            f"{', '.join(map(str, table.columns))}"
        )
    if not isinstance(labels, Mapping):
        for name in labels:
            if name not in table.columns:
                raise unknown_name("column", str(name), map(str, table.columns))
        labels = {name: table[name].tolist() for name in labels}
    if isinstance(groups, str):
        if groups not in table.columns:
            raise unknown_name("column", groups, map(str, table.columns))
        groups = table[groups].tolist()
    return table[column].tolist(), labels, groups


def _sequence(row: Any, encode: Callable[[str], Tensor]) -> Tensor:
    """One sequence: [T] whole numbers, or [T, inputs] real ones."""
    if isinstance(row, str):
        return encode(row).cpu()
    found = torch.as_tensor(np.array(row)) if not isinstance(row, Tensor) else row.cpu()
    if found.ndim not in (1, 2) or not len(found) or (found.ndim == 1 and found.is_floating_point()):
        raise ValueError(
            f"a sequence is a list of token ids, text, or real numbers [T, inputs]; got {tuple(found.shape)} {found.dtype}"
        )
    return found if found.is_floating_point() else found.long()


def _spans(mask: Any, rows: Sequence[Tensor]) -> list[slice]:
    """Where each sequence is more than padding. mask: true at tokens, false at the padding before and behind them."""
    if len(mask) != len(rows):
        raise ValueError(f"mask has {len(mask)} rows; there are {len(rows)} sequences")
    found = []
    for number, (own, row) in enumerate(zip(mask, rows, strict=True)):
        real = torch.as_tensor(np.array(own)).bool()
        at = real.nonzero()[:, 0]
        if real.shape != row.shape[:1] or not len(at) or int(at[-1] - at[0]) + 1 != len(at):
            raise ValueError(
                f"mask of sequence {number} must be as long as it ({len(row)}) and true in one run of tokens: it marks padding "
                "at the ends, and a sample in between is left out by its label, -100 or nan"
            )
        found.append(slice(int(at[0]), int(at[-1]) + 1))
    return found


def _label(name: str, values: Any, lengths: Sequence[int], positions: TapRequest) -> tuple[list[Tensor], tuple[str, ...]]:
    """(label of each token of each sequence, the names of its classes where they were text)."""
    if len(values) != len(lengths):
        raise ValueError(f"label {name!r} has {len(values)} entries; there are {len(lengths)} sequences")
    if isinstance(values, Tensor):
        values = values.cpu()
    given = [np.asarray(value) for value in values]  # in their order: a Series that was filtered is indexed by names of rows
    entries = [np.atleast_1d(value) for value in given]
    names: tuple[str, ...] = ()
    if any(entry.dtype.kind in "UO" for entry in entries):
        entries, names = _coded(name, entries)
    found = []
    for number, (entry, length) in enumerate(zip(entries, lengths, strict=True)):
        value = torch.as_tensor(entry.copy())
        value = value.double() if value.is_floating_point() else value.long()
        if given[number].ndim == 0:
            found.append(value.expand(length))
            continue
        at = Tap.of(positions).resolve(length)
        if len(value) == length:
            found.append(value)
        elif len(value) == len(at):
            spread = torch.full((length,), nan if value.is_floating_point() else IGNORED, dtype=value.dtype)
            spread[list(at)] = value
            found.append(spread)
        else:
            raise ValueError(
                f"label {name!r} of sequence {number} has {len(value)} entries; give one, one a token ({length}), or one a "
                f"captured position ({len(at)})"
            )
    if len({value.dtype for value in found}) > 1:
        found = [value if value.is_floating_point() else value.double().where(value != IGNORED, nan) for value in found]
    return found, names


def _coded(name: str, entries: Sequence[np.ndarray[Any, Any]]) -> tuple[list[np.ndarray[Any, Any]], tuple[str, ...]]:
    """Text as numbers in alphabetical order, numbers beside None as they are; None, nan and NA are no label."""
    every = {value for entry in entries for value in entry.tolist() if not is_missing(value)}
    if all(isinstance(value, int | float) for value in every):
        none = IGNORED if all(isinstance(value, int) for value in every) else nan
        return [np.array([none if is_missing(v) else v for v in entry.tolist()]) for entry in entries], ()
    strange = next((value for value in every if not isinstance(value, str)), None)
    if strange is not None:
        raise TypeError(f"label {name!r} mixes text with {type(strange).__name__} ({strange!r}); give one kind")
    names = tuple(sorted(every))
    code = {value: number for number, value in enumerate(names)}
    return [np.array([IGNORED if is_missing(v) else code[v] for v in entry.tolist()], dtype=np.int64) for entry in entries], names


def _groups(groups: Any, sequences: Sequence[Tensor]) -> Tensor:
    """[N] by `group_of`; one that is missing is known by the content of its sequence."""
    given = groups.tolist() if hasattr(groups, "tolist") else [one.item() if isinstance(one, Tensor) else one for one in groups]
    if len(given) != len(sequences):
        raise ValueError(f"groups has {len(given)} entries; there are {len(sequences)} sequences")
    found = []
    for number, (source, sequence) in enumerate(zip(given, sequences, strict=True)):
        try:
            found.append(int(content_groups(sequence[None])) if is_missing(source) else group_of(source))
        except (TypeError, ValueError) as error:
            raise ValueError(f"groups: that of sequence {number} is {source!r}; {error}") from error
    return torch.tensor(found)
