"""A result: one table with what is needed to read it, stored as one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from ..errors import StatescopeError, UnknownNameError
from ..files import write_bytes, write_whole
from ..plugins import Kinds
from .figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

SCHEMA_VERSION = 1
_METADATA = b"statescope"


class DamagedResultError(StatescopeError, ValueError):
    """A result file that is missing, cut short or altered."""


class UnknownResultError(StatescopeError, ValueError):
    """A result of a kind that neither this package nor a loaded plug-in defines."""


class WrongKindError(StatescopeError, TypeError):
    """A file that holds another kind of result than the one asked for."""


@dataclass(frozen=True)
class Result(Kinds, family="result"):
    """The outcome of one analysis.

    table: one row a measurement, with the columns of `columns`.
    about: what was measured and how: parameters, counts, units, seeds.
    """

    table: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)

    title: ClassVar[str] = ""
    columns: ClassVar[dict[str, str]] = {}  # column -> what it holds, with units

    def __post_init__(self) -> None:
        missing = [name for name in self.columns if name not in self.table.columns]
        if missing:
            raise ValueError(f"{type(self).__name__} needs the columns {', '.join(missing)}")

    def to_frame(self) -> pd.DataFrame:
        """The table, as a copy."""
        return self.table.copy()

    def summary(self) -> str:
        """The result in a sentence or a few lines."""
        raise NotImplementedError

    def specification(self) -> Figure:
        """What its figure shows. Some results take the part to show, such as a layer, as keywords."""
        raise NotImplementedError

    def figure(self, **selection: Any) -> PlotlyFigure:
        """The figure for the screen, as a plotly figure."""
        from .screen import draw_on_screen

        return draw_on_screen(self.specification(**selection))

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
        header = {"schema_version": SCHEMA_VERSION, "kind": self.kind, "module": type(self).__module__}
        header |= {"about": dict(self.about), "columns": self.columns}
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        return table.replace_schema_metadata({_METADATA: json.dumps(header, sort_keys=True).encode()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result that was saved as Parquet.

        The file says of which kind it is, and no more: the class comes from this package, from an installed plug-in, or from
        a file of the user's that is imported already. A module that the file names is shown, never imported.

        Raises DamagedResultError naming the file if it is missing, cut short or altered; UnknownResultError if no class of
        its kind is known here; TypeError if it holds another kind of result than `cls`.
        """
        try:
            table = parquet.read_table(path, page_checksum_verification=True)
            header = _Header.read((table.schema.metadata or {}).get(_METADATA))
            frame = table.replace_schema_metadata(None).to_pandas()
        except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
        try:
            kind = Result.of_kind(header.kind)
        except UnknownNameError as error:
            raise UnknownResultError(
                f"{path} holds a result of the kind {header.kind!r}, which nothing here defines. A class of the module "
                f"{header.module!r} wrote it: install the plug-in it belongs to, or import its file before the result is read"
            ) from error
        try:
            found = kind(frame, header.about)
        except ValueError as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
        if not isinstance(found, cls):
            raise WrongKindError(f"{path} holds a {type(found).__name__}, not a {cls.__name__}")
        return found


@dataclass(frozen=True)
class _Header:
    """What a result file says of itself."""

    kind: str
    module: str
    about: Mapping[str, Any]

    @classmethod
    def read(cls, raw: bytes | None) -> _Header:
        """From the Parquet metadata. Raises ValueError for what is no header of ours."""
        if raw is None:
            raise ValueError("it is a Parquet file without the header of a result")
        plain = json.loads(raw)
        if not isinstance(plain, dict):
            raise ValueError("its header is no table of names")
        if plain.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema version {plain.get('schema_version')!r}, this program reads {SCHEMA_VERSION}")
        kind, module, about = plain.get("kind"), plain.get("module", ""), plain.get("about", {})
        if not isinstance(kind, str) or not isinstance(module, str) or not isinstance(about, dict):
            raise ValueError("its header needs kind (text), module (text) and about (a table)")
        return cls(kind, module, about)
