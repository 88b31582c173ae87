"""One result with what a reader takes from it: its figure, its words, files, numbers, and the lines that draw it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.results.drawn import SUFFIXES, DrawnFigure
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ...probe.results.style import STYLES
from .choose import choose, rows_of
from .kept_chart import kept_chart
from .origin import Origin
from .text import caption, literal


def is_dark() -> bool:
    """Whether the reader chose the dark theme."""
    return st.context.theme.type == "dark"


def show(
    origin: Origin,
    name: str,
    result: Result,
    where: Mapping[str, Any],
    *,
    words: bool = True,
    panels: slice = slice(None),
    narrow: bool = False,
) -> None:
    """Draw the rows of a result, with its summary and its exports below. What cannot be drawn is told, and hides nothing else.

    where: a selection, which may name columns that this result does not have. words: with the summary. panels: those to draw
        on the page, where another chart shows the rest already; files have all. narrow: half of the page, a panel a row.
    """
    own = {column: value for column, value in where.items() if column in result.table.columns}
    rows = rows_of(result, own)
    if rows is None:
        shown = ", ".join(f"{column} {value}" for column, value in own.items())
        st.info(f"{literal(name.replace('_', ' '))} has no rows for {literal(shown)}.", icon=":material/info:")
        return
    try:
        figure = rows.figure()
        drawn = figure.specification
        on_page = replace(drawn, panels=drawn.panels[panels], columns=1 if narrow else drawn.columns)
        chart = draw_on_screen(on_page, dark=is_dark(), width=0.5 if narrow else 1.0)
        frame, summary = figure.to_frame(), rows.summary()
    except Exception as error:  # a table of the right columns may hold anything
        why = str(error) if isinstance(error, StatescopeError) else f"{type(error).__name__}: {error}"
        st.error(f"{literal(name)} cannot be drawn: {literal(why)}")
        return
    kept_chart(chart, f"chart-{origin.name}-{name}", drawn.alt or drawn.title)
    if drawn.caption.strip(" ;:."):
        caption(drawn.caption)
    if words:
        st.text(summary)
    offer(origin, name, rows, figure, frame, own)


def offer(origin: Origin, name: str, rows: Result, figure: DrawnFigure, frame: pd.DataFrame, where: Mapping[str, Any]) -> None:
    """What a reader takes along, folded away: files of the figure, drawn only when they are asked for, numbers and code."""
    with st.expander(f"Export, numbers and code: {literal(name.replace('_', ' '))}"):
        _offer_exports(origin, name, rows, figure, where)
        st.dataframe(frame, height=240, key=f"numbers-{origin.name}-{name}")


def _offer_exports(origin: Origin, name: str, rows: Result, figure: DrawnFigure, where: Mapping[str, Any]) -> None:
    style = choose(
        "style of print",
        list(STYLES),
        f"style-{origin.name}-{name}",
        help="Sizes and fonts of the venue, at the size on the page.",
    )
    drawn = DrawnFigure(figure.specification, style)
    forms: dict[str, Callable[[], bytes]] = {suffix: partial(drawn.render, suffix) for suffix in SUFFIXES}
    address = {"address": st.context.url, "query": dict(st.query_params)}
    forms["parquet"] = partial(_parquet, drawn)
    forms["zip"] = lambda: _archive(rows, drawn, origin.provenance(name, where, **address))
    for column, (suffix, data) in zip(st.columns(len(forms)), forms.items(), strict=True):
        column.download_button(
            "all" if suffix == "zip" else suffix.upper(),
            data=data,
            file_name=f"{origin.name}-{name}.{suffix}",
            key=f"export-{origin.name}-{name}-{suffix}",
            on_click="ignore",
            help="Every form of the figure, its numbers, a script that draws it again, and where it comes from."
            if suffix == "zip"
            else None,
        )
    st.code(origin.code(name, where), language="python", wrap_lines=True)


def _parquet(figure: DrawnFigure) -> bytes:
    from ...probe.results.bundle import parquet_of  # which imports what draws for print

    return parquet_of(figure)


def _archive(rows: Result, figure: DrawnFigure, provenance: Mapping[str, Any]) -> bytes:
    from ...probe.results.bundle import bundle

    return bundle(rows, figure, provenance)
