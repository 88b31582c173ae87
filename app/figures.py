"""The command that draws a result of a run to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from ..probe.errors import StatescopeError, unknown_name

if TYPE_CHECKING:
    from ..probe.results.drawn import DrawnFigure
    from ..probe.results.result import Result
    from ..probe.runs.run import Run

RUNS = Path("runs")
ARCHIVE = "zip"


class BadSelectionError(StatescopeError, ValueError):
    """A selection on the command line that is not column=value."""


def figure(
    run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")],
    name: Annotated[Positional[str], tyro.conf.arg(metavar="RESULT")],
    folder: Path = RUNS,
    format: str = "pdf",
    style: str = "neurips",
    where: tuple[str, ...] = (),
    out: Path | None = None,
) -> None:
    """Draw a result of a run: statescope figure parity-seed0 probes --where layer=0 --style icml

    Args:
        run: a run folder, or the name of one.
        name: of the result; statescope show RUN names them.
        folder: where runs are.
        format: pdf, svg, png for print; html; csv for the drawn numbers; zip for all of them, with the script that draws the
            figure again, where it comes from, and a caption to begin with.
        style: of print: neurips, iclr, icml (one column), icml-wide, aistats, jmlr, tmlr, slide.
        where: the rows to draw, as column=value.
        out: the file; RUN-NAME.FORMAT otherwise.

    """
    from ..probe.files import write_bytes
    from ..probe.results.drawn import SUFFIXES
    from ..probe.runs.run import Run
    from .find_run import find_run

    if format not in (*SUFFIXES, ARCHIVE):
        raise unknown_name("figure format", format, (*SUFFIXES, ARCHIVE))
    found = Run(find_run(run, folder))
    result = found.result(name)
    chosen = read_selection(result, where)
    drawn = result.figure(style, **chosen)
    data = _archive(found, name, result.select(**chosen), drawn, chosen) if format == ARCHIVE else drawn.render(format)
    target = out or Path(f"{found.path.name}-{name}.{format}")
    write_bytes(target, data)
    print(target)


def _archive(run: Run, name: str, rows: Result, drawn: DrawnFigure, chosen: Mapping[str, Any]) -> bytes:
    from ..probe.results.bundle import bundle
    from ..probe.runs.provenance import provenance_of

    return bundle(rows, drawn, provenance_of(run, name, chosen))


def read_selection(result: Result, where: Sequence[str]) -> Mapping[str, Any]:
    """Values of columns from "column=value", each of the type that the column has.

    Raises BadSelectionError for what has no "=", UnknownNameError for a column or a value that is not there.
    """
    chosen: dict[str, Any] = {}
    for entry in where:
        column, sign, text = entry.partition("=")
        if not sign:
            raise BadSelectionError(f"{entry!r} is no selection; write column=value, such as layer=0")
        if column not in result.table.columns:
            raise unknown_name(f"column of {type(result).__name__}", column, map(str, result.table.columns))
        values = {str(value): value for value in result.table[column].drop_duplicates().tolist()}
        if text not in values:
            raise unknown_name(f"{column} of {type(result).__name__}", text, values)
        chosen[column] = values[text]
    return chosen
