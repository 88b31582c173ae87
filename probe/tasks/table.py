"""A user's own sequences, from a Parquet or CSV table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..errors import StatescopeError, unknown_name
from .base import IGNORED, SHARES, Batch, Split, Task, check_request, group_of, is_missing

MOST_TOKENS = 2**24  # ids that an embedding may have to hold
EXACT = 2**53  # whole numbers that a float64 tells apart


class UnreadableTableError(StatescopeError, ValueError):
    """A table that is missing a column, or has one that does not fit."""


@dataclass(frozen=True)
class Table(Task, kind="table"):
    """Sequences of your own, one in each row of a file.

    The column "tokens" holds whole numbers from 0 (a list in Parquet, numbers with spaces between them in CSV, which is UTF-8);
    "split" is train, validation or test; "group", if there is one, says which source a row comes from, as a
    name or number, and one source is one in every file, whatever type its column has (`group_of`): 1, 1.0, "1" and "1.0" are one.
    A row that leaves it empty (None, NaN, NaT, NA or "") is a source of its own, known by its tokens. "targets", if there is one,
    is as long as the tokens, -100 where nothing is asked (without it the target is the next token); each other column is a label
    as long as the tokens, of whole numbers: in Parquet floats that are whole are taken, and a missing one is refused.

    A `Table` reads its file once, when it is first used, and stays as it read it: make another for a file that has changed.
    """

    path: str = ""
    """The table is this file, Parquet or CSV."""

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The table, its sequences as arrays and its groups as numbers. Raises UnreadableTableError naming the column and row
        that does not fit.
        """
        return read(self.path)

    @cached_property
    def vocabulary(self) -> int:
        asked = [name for name in ("tokens", "targets") if name in self.rows.columns]
        return 1 + max(int(row.max()) for name in asked for row in self.rows[name])

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        check_request(size, length)
        table = self.rows
        rows = table[(table["split"] == split) & (table["tokens"].map(len) >= length)]
        if rows.empty:
            raise UnreadableTableError(f"{self.path} has no {split} row of at least {length} tokens")
        chosen = torch.randint(0, len(rows), (size,), generator=generator)
        picked = []
        for i in chosen.tolist():
            spare = len(rows["tokens"].iloc[i]) - length
            picked.append((i, int(torch.randint(0, spare + 1, (), generator=generator))))

        def cut(name: str, shift: int = 0) -> Tensor:
            column = rows[name]
            values = [column.iloc[i][start + shift : start + shift + length] for i, start in picked]
            padded = [np.pad(value, (0, length - len(value)), constant_values=IGNORED) for value in values]
            return torch.from_numpy(np.stack(padded).astype(np.int64))

        named = [name for name in table.columns if name not in ("tokens", "split", "group", "targets")]
        targets = cut("targets") if "targets" in table.columns else cut("tokens", 1)
        groups = torch.tensor(rows["group"].iloc[chosen.tolist()].tolist())
        return Batch(cut("tokens"), targets, {name: cut(name) for name in named}, groups)


def read(path: str) -> pd.DataFrame:
    """The table with its sequences as arrays and its groups as numbers. Raises UnreadableTableError naming the column and row
    that does not fit.
    """
    file = Path(path).expanduser()
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    if file.suffix not in readers:
        raise unknown_name("kind of table", file.suffix or str(path), readers)
    if not file.is_file():
        raise UnreadableTableError(f"{file} does not exist, or is no file")
    try:
        table = readers[file.suffix](file)
    except UnicodeDecodeError as error:
        raise UnreadableTableError(
            f"{file} is not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UnreadableTableError(f"{file} is empty; it needs the columns 'tokens' and 'split', and a row a sequence") from error
    except (OSError, ValueError, NotImplementedError, OverflowError, pa.ArrowException) as error:
        raise UnreadableTableError(f"{file} cannot be read as {file.suffix[1:]}: {_shown(str(error), 200)}") from error
    _check_columns(table, file)
    for name in table.columns:
        if name not in ("split", "group"):
            table[name] = [_sequence(value, name, row, file) for row, value in enumerate(table[name])]
    sources = table["group"] if "group" in table.columns else [None] * len(table)
    table["group"] = [
        _group(source, tokens, row, file) for row, (source, tokens) in enumerate(zip(sources, table["tokens"], strict=True))
    ]
    _check_values(table, file)
    return table


def _read_csv(file: Path) -> pd.DataFrame:
    """Every field as text: "NA" is a name like others, and "1.0" no whole number. The header is read as a row, so that pandas
    neither renames columns of one name nor takes the first for an index.
    """
    rows = pd.read_csv(file, header=None, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    header = [str(name).strip() for name in rows.iloc[0]]
    _check_names(header, file)
    table = rows.iloc[1:].reset_index(drop=True)
    return table.set_axis(header, axis=1)


def _read_parquet(file: Path) -> pd.DataFrame:
    table = pa.parquet.read_table(file).to_pandas(integer_object_nulls=True)  # as floats, large whole numbers would be one
    table = table.reset_index(drop=True)
    table.columns = [str(name) for name in table.columns]
    _check_names(list(table.columns), file)
    return table


def _check_names(names: Sequence[str], file: Path) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UnreadableTableError(f"{file} has the column {_shown(twice[0])} twice; rename one")
    if not all(names):
        raise UnreadableTableError(f"{file} has a column without a name")


def _check_columns(table: pd.DataFrame, file: Path) -> None:
    for name in ("tokens", "split"):
        if name not in table.columns:
            has = ", ".join(_shown(column) for column in table.columns[:12])
            raise UnreadableTableError(f"{file} has no column {name!r}; it has {has}")
    if table.empty:
        raise UnreadableTableError(f"{file} has no row")
    for row, split in enumerate(table["split"]):
        if not isinstance(split, str) or split not in SHARES:
            raise UnreadableTableError(f"{file}, row {row}: split is {_shown(split)}; it must be {', '.join(SHARES)}")


def _check_values(table: pd.DataFrame, file: Path) -> None:
    for name in [name for name in table.columns if name not in ("tokens", "split", "group")]:
        for row, (own, tokens) in enumerate(zip(table[name], table["tokens"], strict=True)):
            if len(own) != len(tokens):
                raise UnreadableTableError(f"{file}, row {row}: {name} has {len(own)} entries and tokens {len(tokens)}")
    for name in [name for name in ("tokens", "targets") if name in table.columns]:
        for row, own in enumerate(table[name]):
            low = own[own != IGNORED].min(initial=0) if name == "targets" else own.min()
            if low < 0:
                raise UnreadableTableError(f"{file}, row {row}: {name} holds {low}; ids are 0 or more")
            if own.max() >= MOST_TOKENS:
                raise UnreadableTableError(
                    f"{file}, row {row}: {name} holds the id {own.max()}, and an embedding has a row for every id up to it; "
                    f"number the tokens from 0 (at most {MOST_TOKENS - 1})"
                )


def _group(source: object, tokens: NDArray[np.int64], row: int, file: Path) -> int:
    """A row without a group is known by its tokens: the number of a row would name another one in another file."""
    try:
        return group_of(f"tokens {tokens.tobytes().hex()}" if is_missing(source) else source)
    except (TypeError, ValueError) as error:
        raise UnreadableTableError(f"{file}, row {row}: group is {_shown(source)}; {_shown(error, 120)}") from error


def _sequence(value: object, name: str, row: int, file: Path) -> NDArray[np.int64]:
    """Whole numbers, exactly: nothing is cut or made up. Floats that are whole are taken as they are."""
    whole = f"{file}, row {row}: {name} is {_shown(value)}, not whole numbers"
    try:
        found: NDArray[Any] = np.asarray(value.split() if isinstance(value, str) else value)
        if found.dtype.kind == "f" and not (np.isfinite(found) & (found == np.round(found)) & (abs(found) < EXACT)).all():
            raise UnreadableTableError(whole)
        if found.dtype.kind not in "biufU" or (found.dtype.kind == "u" and bool((found > np.iinfo(np.int64).max).any())):
            raise UnreadableTableError(whole)
        found = found.astype(np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableTableError(whole) from error
    if found.ndim != 1 or not len(found):
        raise UnreadableTableError(f"{file}, row {row}: {name} is {_shown(value)}, not a sequence")
    return found


def _shown(value: object, most: int = 60) -> str:
    """A value of a file in an error: on one line, and not longer than can be read."""
    text = " ".join(str(value).split()) if isinstance(value, Exception) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
