"""One result with what a reader takes from it: its figure, its words, files, numbers, and the lines that draw it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from ...probe.results.bundle import bundle, parquet_of
from ...probe.results.drawn import SUFFIXES, DrawnFigure
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ...probe.results.style import STYLES
from ...probe.runs.provenance import provenance_of
from ...probe.runs.run import Run
from .choose import choose, rows_of
from .text import caption, literal

MODEBAR = {"displaylogo": False, "toImageButtonOptions": {"format": "svg"}}


def is_dark() -> bool:
    """Whether the reader chose the dark theme."""
    return st.context.theme.type == "dark"


def show_result(
    run: Run,
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
        on the page, where another chart shows the rest already; files have all. narrow: with one panel a row.
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
        chart = draw_on_screen(on_page, dark=is_dark())
        frame, summary = figure.to_frame(), rows.summary()
    except Exception as error:  # a table of the right columns may hold anything
        st.error(f"{literal(name)} cannot be drawn: {literal(f'{type(error).__name__}: {error}')}")
        return
    st.plotly_chart(chart, theme=None, key=f"chart-{run.path.name}-{name}", config=MODEBAR, alt=drawn.alt or drawn.title)
    if drawn.caption.strip(" ;:."):
        caption(drawn.caption)
    if words:
        st.text(summary)
    with st.expander(f"Export, numbers and code: {literal(name.replace('_', ' '))}"):
        _offer_exports(run, name, rows, figure, own)
        st.dataframe(frame, height=240, key=f"numbers-{run.path.name}-{name}")


def _offer_exports(run: Run, name: str, rows: Result, figure: DrawnFigure, where: Mapping[str, Any]) -> None:
    """Files of the figure, drawn only when they are asked for, and the code that draws it."""
    style = choose(
        "style of print",
        list(STYLES),
        f"style-{run.path.name}-{name}",
        help="Sizes and fonts of the venue, at the size on the page.",
    )
    drawn = DrawnFigure(figure.specification, style)
    forms: dict[str, Callable[[], bytes]] = {suffix: partial(drawn.render, suffix) for suffix in SUFFIXES}
    forms["parquet"] = partial(parquet_of, drawn)
    address = {"address": st.context.url, "query": dict(st.query_params)}
    forms["zip"] = lambda: bundle(rows, drawn, provenance_of(run, name, where, **address))
    for column, (suffix, data) in zip(st.columns(len(forms)), forms.items(), strict=True):
        column.download_button(
            "all" if suffix == "zip" else suffix.upper(),
            data=data,
            file_name=f"{run.path.name}-{name}.{suffix}",
            key=f"export-{run.path.name}-{name}-{suffix}",
            on_click="ignore",
            help="Every form of the figure, its numbers, a script that draws it again, and where it comes from."
            if suffix == "zip"
            else None,
        )
    arguments = ", ".join(f"{key}={value!r}" for key, value in where.items())
    st.code(
        "from statescope import Run\n\n"
        f"result = Run({str(run.path)!r}).result({name!r})\n"
        f"result.figure({arguments}).show()\n"
        "result.to_frame()",
        language="python",
    )
