"""A result: one table with what is needed to read it, stored as one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from ..configuration import Kinds
from ..errors import StatescopeError
from ..files import write_whole
from .figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

SCHEMA_VERSION = 1
_METADATA = b"statescope"


class DamagedResultError(StatescopeError, ValueError):
    """A result file that is missing, cut short or altered."""


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
        from .screen import draw

        return draw(self.specification(**selection))

    def save(self, path: str | Path) -> Path:
        """Write the result to `path` (.parquet); the file appears whole or not at all."""
        path = Path(path).with_suffix(".parquet")
        header = {"schema_version": SCHEMA_VERSION, "kind": self.kind, "module": type(self).__module__}
        header |= {"about": dict(self.about), "columns": self.columns}
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata({_METADATA: json.dumps(header, sort_keys=True).encode()})
        write_whole(path, lambda temporary: parquet.write_table(table, temporary, write_page_checksum=True))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result. Raises DamagedResultError naming the file if it is missing, cut short or altered."""
        try:
            table = parquet.read_table(path, page_checksum_verification=True)
            header = json.loads((table.schema.metadata or {})[_METADATA])
            kind = _class_of(header["kind"], header["module"])
            found = kind(table.replace_schema_metadata(None).to_pandas(), header["about"])
        except (OSError, pa.ArrowException, ImportError, KeyError, ValueError) as error:
            raise DamagedResultError(f"{path} cannot be read as a result: {error}") from error
        if not isinstance(found, cls):
            raise DamagedResultError(f"{path} holds a {type(found).__name__}, not a {cls.__name__}")
        return found


def _class_of(kind: str, module: str) -> type[Result]:
    """The class of a kind; its module is imported if it is one of this package, and never another that a file names."""
    package = __name__.partition(".")[0]
    if kind not in Result.known and module.partition(".")[0] == package:
        import_module(module)
    if kind not in Result.known:
        raise ValueError(f"the result kind {kind!r} comes from {module}; import that module first")
    return Result.of_kind(kind)
