"""One archive with a figure in all its forms, the numbers behind it, the script that draws it again, and where it comes from."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from .drawn import PRINTED, DrawnFigure
from .figure import Figure
from .result import Result
from .script import numbered_frame, script_of
from .text import visible_lines

EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip has no earlier time; the same figure gives the same bytes


def bundle(result: Result, figure: DrawnFigure, provenance: Mapping[str, Any]) -> bytes:
    """The archive as bytes, the same for the same arguments.

    figure.pdf, .svg, .png, .html: the figure, for print in its style. data.csv, data.parquet: every drawn number.
    figure.py: draws it from data.csv, with matplotlib alone. provenance.json: what it was made from. caption.txt: a stub.

    result: the rows that are drawn. provenance: such as run, seed, digest, versions, selection; as JSON.
    """
    frame = numbered_frame(figure.specification)
    files = {f"figure.{suffix}": figure.render(suffix) for suffix in (*PRINTED, "html")}
    files |= {"data.csv": frame.to_csv(index=False).encode("utf-8", "replace"), "data.parquet": parquet_of(figure)}
    files["figure.py"] = script_of(figure.specification, figure.style).encode("utf-8", "replace")
    files["caption.txt"] = caption(result, figure, provenance).encode("utf-8", "replace")
    files["provenance.json"] = json.dumps(dict(provenance), indent=2, sort_keys=True, default=str).encode()
    return _archive(files)


def parquet_of(figure: DrawnFigure) -> bytes:
    """Write the drawn numbers as the bytes of a Parquet file."""
    held = io.BytesIO()
    numbered_frame(figure.specification).to_parquet(held, index=False)
    return held.getvalue()


def caption(result: Result, figure: DrawnFigure, provenance: Mapping[str, Any]) -> str:
    """What a caption has to say: what is shown, what the error bars are, how many, which seed. To be written out by hand."""
    drawn = figure.specification
    lines = [f"{drawn.title}. {drawn.caption}".strip(), result.summary()]
    lines.append(_bars(result, drawn))
    counts = {key: value for key, value in result.about.items() if isinstance(value, int | float | str)}
    if counts:
        lines.append("Measured with: " + ", ".join(f"{key} {value}" for key, value in counts.items()) + ".")
    seed = f"seed {provenance['seed']}" if "seed" in provenance else "no seed was noted"
    lines.append(f"{len(result.table)} rows of {result.kind}; {seed}.")
    return visible_lines("\n\n".join(lines)) + "\n"


def _bars(result: Result, drawn: Figure) -> str:
    """What the bars and bands that are drawn say: as the columns tell it, or the figure, which may be of several results."""
    if not any(getattr(mark, "low", None) is not None for panel in drawn.panels for mark in panel.marks):
        return "No error bars are drawn."
    ends = [f"{name}: {meaning}" for name, meaning in result.columns.items() if name in ("low", "high")]
    return f"Error bars and bands. {'; '.join(ends) or drawn.caption.rstrip('.') or 'The result does not say of what'}."


def _archive(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), data, zipfile.ZIP_DEFLATED)
    return held.getvalue()
