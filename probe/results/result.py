"""A result: one table with what is needed to read it, stored as one Parquet file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from ..errors import StatescopeError, UnknownNameError, unknown_name
from ..files import write_bytes, write_whole
from ..plugins import Kinds
from .about import About
from .drawn import DrawnFigure
from .figure import Figure
from .stored import DamagedResultError as DamagedResultError
from .stored import header_in, read_stored, with_header
from .style import PrintStyle
from .text import visible_lines


class UnknownResultError(StatescopeError, ValueError):
    """A result of a kind that neither this package nor a loaded plug-in defines."""


class AmbiguousSelectionError(StatescopeError, LookupError):
    """A selection that leaves more than one value."""


class WrongKindError(StatescopeError, TypeError):
    """A file that holds another kind of result than the one asked for."""


@dataclass(frozen=True)
class Result(Kinds, family="result"):
    """The outcome of one analysis: a table, and what is needed to read and to draw it.

    table: one row a measurement, with the columns of `columns`.
    about: what was measured and how: parameters, counts, units, seeds. It is kept as an `About`, so that a name which another
        version did not store yet raises OtherVersionError, which says what to do.

    A class of results names its kind, says what each column holds, and gives `summary` and `specification`. Both describe the
    rows there are, so that a selection is a result too: `result.select(layer=0).figure()`.

    What measures a result imports much; who looks at one that is stored should not wait for it. So a class of results stands in
    a module that imports tables and figures alone, in a folder `results` beside what measures it.
    """

    table: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=About)

    title: ClassVar[str] = ""
    columns: ClassVar[dict[str, str]] = {}
    """This maps each column of the table to what it holds, with units."""
    selected_by: ClassVar[tuple[str, ...] | None] = None
    """These columns tell one measurement from another, in the order in which a reader chooses; None takes all of text."""

    def __init_subclass__(cls, **declared: Any) -> None:
        super().__init_subclass__(**declared)
        if "__repr__" not in cls.__dict__:  # `dataclass` would give each class one that prints the table
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self.table)} rows:\n{self.summary()}"

    def __post_init__(self) -> None:
        missing = [name for name in self.columns if name not in self.table.columns]
        if missing:
            raise ValueError(f"{type(self).__name__} needs the columns {', '.join(missing)}")
        if not isinstance(self.about, About):
            object.__setattr__(self, "about", About(self.about))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One result of several: their rows, one after another.

        Raises ValueError for none, and for those that were not measured in the same way, as `about` says it.
        """
        if not parts or any(part.about != parts[0].about for part in parts):
            raise ValueError(f"{len(parts)} results ({cls.title}) were not measured in the same way; keep them apart")
        return cls(pd.concat([part.table for part in parts], ignore_index=True), parts[0].about)

    def to_frame(self) -> pd.DataFrame:
        """Give the table as a copy."""
        return self.table.copy()

    def summary(self) -> str:
        """The result in a sentence or a few lines."""
        raise NotImplementedError

    def specification(self) -> Figure:
        """What its figure shows: all rows of the table."""
        raise NotImplementedError

    @property
    def selectors(self) -> dict[str, list[Any]]:
        """What rows can be selected by: column -> its values, text in the order of the table and numbers in their own."""
        names = self.selected_by
        if names is None:
            names = tuple(name for name in self.table.columns if not pd.api.types.is_numeric_dtype(self.table[name]))
        return {name: _values(self.table[name]) for name in names}

    def select(self, **where: Any) -> Self:
        """Only the rows whose columns have these values, such as layer=0, head=2. None stands for all values.

        Raises UnknownNameError, with the nearest name, for a column that is not there and for a value that no row has.
        """
        table = self.table
        for column, value in where.items():
            if column not in table.columns:
                raise unknown_name(f"column of {type(self).__name__}", column, map(str, table.columns))
            if value is None:
                continue
            chosen = table[table[column] == value]
            if chosen.empty:
                raise unknown_name(f"{column} of {type(self).__name__}", str(value), map(str, _values(table[column])))
            table = chosen
        return replace(self, table=table)

    def value(self, column: str, **where: Any) -> Any:
        """The one number (or text) of a column where other columns have these values.

        Raises UnknownNameError as `select` does, and AmbiguousSelectionError where the rows that are left differ: its text
        names the columns in which they do.
        """
        rows = self.select(**where).table
        if column not in rows.columns:
            raise unknown_name(f"column of {type(self).__name__}", column, map(str, rows.columns))
        values = rows[column].drop_duplicates()
        if len(values) != 1:
            differing = [name for name in rows.columns if name not in where and name != column and rows[name].nunique() > 1]
            raise AmbiguousSelectionError(
                f"{len(rows)} rows of {type(self).__name__} are left, with {len(values)} values of {column}; "
                f"select by {', '.join(map(str, differing)) or 'more'} too"
            )
        found = values.iloc[0]
        return found.item() if hasattr(found, "item") else found

    def figure(self, style: str | PrintStyle = "neurips", **where: Any) -> DrawnFigure:
        """The figure of these rows (see `select`). It shows itself in a notebook; `.save("probes.pdf")` writes it.

        style: of print, by the name of a venue, or as a PrintStyle.
        """
        return DrawnFigure(self.select(**where).specification(), style)

    def _repr_html_(self) -> str:
        """What a notebook shows: the title, the summary, and what rows can be selected by."""
        chosen = ", ".join(f"{name} ({len(values)})" for name, values in self.selectors.items())
        shown = [self.title or type(self).__name__, self.summary(), f"{len(self.table)} rows; select by {chosen or 'nothing'}"]
        title, summary, rest = (html.escape(visible_lines(text)) for text in shown)
        return f"<div><b>{title}</b><pre>{summary}</pre><small>{rest}</small></div>"

    def save(self, path: str | Path) -> Path:
        """Write the result; the file appears whole or not at all.

        path: its suffix chooses the format. `.parquet` keeps the table with its types, `about` and the kind, and is what
            `Result.load` reads. `.csv` keeps the numbers alone, for other programs, and cannot be loaded again.

        Raises ValueError for any other suffix.
        """
        path = Path(path)
        if path.suffix == ".csv":
            write_bytes(path, self.table.to_csv(index=False).encode())
        elif path.suffix == ".parquet":
            write_whole(path, lambda temporary: parquet.write_table(self._to_arrow(), temporary, write_page_checksum=True))
        else:
            raise ValueError(f"{path.name}: a result is saved as .parquet, which Result.load reads, or as .csv; name one of them")
        return path

    def _to_arrow(self) -> pa.Table:
        header = {"kind": self.kind, "module": type(self).__module__, "about": dict(self.about), "columns": self.columns}
        return with_header(pa.Table.from_pandas(self.table, preserve_index=False), header)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result that was saved as Parquet.

        The file says of which kind it is, and no more: the class comes from this package, from an installed plug-in, or from
        a file of the user's that is imported already. A module that the file names is shown, never imported.

        Raises DamagedResultError naming the file if it is missing, cut short or altered; UnknownResultError if no class of
        its kind is known here; TypeError if it holds another kind of result than `cls`.
        """
        header, table = read_stored(path)
        try:
            frame = table.to_pandas()
        except (pa.ArrowException, ValueError) as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
        try:
            kind = Result.of_kind(header.kind)
        except UnknownNameError as error:
            raise UnknownResultError(
                f"{path} holds a result of the kind {header.kind!r}, which nothing here defines. A class of the module "
                f"{header.module!r} wrote it: install the plug-in it belongs to, or import its file before the "
                "result is read, which on the command line is --plugins FILE.py"
            ) from error
        try:
            found = kind(frame, About(header.about, str(path)))
        except ValueError as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}; delete it and run its study again") from error
        if not isinstance(found, cls):
            raise WrongKindError(f"{path} holds a {type(found).__name__}, not a {cls.__name__}")
        return found

    @staticmethod
    def kind_in(path: str | Path) -> tuple[str, Mapping[str, Any]]:
        """The kind of the result in a file, and its `about`; only the end of the file is read. Raises DamagedResultError for what
        is no result.
        """
        header = header_in(path)
        return header.kind, header.about


def _values(column: pd.Series) -> list[Any]:
    """The values of a column, each once."""
    values = column.drop_duplicates()
    return (values.sort_values() if pd.api.types.is_numeric_dtype(values) else values).tolist()
