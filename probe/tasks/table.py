"""A user's own sequences, from a Parquet or CSV table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from ..errors import StatescopeError, unknown_name
from .base import IGNORED, Batch, Split, Task, group_of


class UnreadableTableError(StatescopeError, ValueError):
    """A table that is missing a column, or has one that does not fit."""


@dataclass(frozen=True)
class Table(Task, kind="table"):
    """One row a sequence. The column "tokens" holds whole numbers (a list in Parquet, numbers with spaces between them in CSV);
    "split" is train, validation or test; "group", if there is one, says which source a row comes from; "targets", if there is
    one, is as long as the tokens (without it the target is the next token); each other column is a label as long as the tokens.
    """

    path: str = ""

    @property
    def vocabulary(self) -> int:
        return int(max(row.max() for row in read(self.path)["tokens"])) + 1

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        table = read(self.path)
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
        groups = torch.tensor([group_of(source) for source in rows["group"].iloc[chosen.tolist()]])
        return Batch(cut("tokens"), targets, {name: cut(name) for name in named}, groups)


@lru_cache(maxsize=4)
def read(path: str) -> pd.DataFrame:
    """The table with its sequences as arrays. Raises UnreadableTableError naming the column and row that does not fit."""
    file = Path(path).expanduser()
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if file.suffix not in readers:
        raise unknown_name("kind of table", file.suffix or str(path), readers)
    if not file.is_file():
        raise UnreadableTableError(f"{file} does not exist")
    table = readers[file.suffix](file)
    for name in ("tokens", "split"):
        if name not in table.columns:
            raise UnreadableTableError(f"{file} has no column {name!r}; it has {', '.join(table.columns)}")
    strange = set(table["split"]) - {"train", "validation", "test"}
    if strange:
        raise UnreadableTableError(f"{file}: split is {strange.pop()!r} in some row; it must be train, validation or test")
    for name in table.columns:
        if name not in ("split", "group"):
            table[name] = [_sequence(value, name, row, file) for row, value in enumerate(table[name])]
    # A row without a group is known by its tokens: the number of a row would name another one in another file.
    alone = table["tokens"].map(lambda row: row.tobytes().hex())
    table["group"] = table["group"].where(table["group"].notna(), alone).astype(str) if "group" in table.columns else alone
    for name in set(table.columns) - {"tokens", "split", "group"}:
        for row, (own, tokens) in enumerate(zip(table[name], table["tokens"], strict=True)):
            if len(own) != len(tokens):
                raise UnreadableTableError(f"{file}, row {row}: {name} has {len(own)} entries and tokens {len(tokens)}")
    if table["tokens"].map(lambda row: row.min()).min() < 0:
        raise UnreadableTableError(f"{file}: a token is negative")
    return table


def _sequence(value: object, name: str, row: int, file: Path) -> np.ndarray:
    try:
        found = np.asarray(value.split() if isinstance(value, str) else value).astype(np.int64)
    except (TypeError, ValueError):
        raise UnreadableTableError(f"{file}, row {row}: {name} is {value!r}, not whole numbers") from None
    if found.ndim != 1 or not len(found):
        raise UnreadableTableError(f"{file}, row {row}: {name} is {value!r}, not a sequence")
    return found
