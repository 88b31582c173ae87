"""One figure with what a user takes from it: files, numbers, and the lines that draw it again."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from ...probe.results.figure import Figure
from ...probe.results.print import render_for_print
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ...probe.runs.run import Run
from .text import literal

MODEBAR = {"displaylogo": False, "toImageButtonOptions": {"format": "svg"}}


def is_dark() -> bool:
    """Whether the reader chose the dark theme."""
    return st.context.theme.type == "dark"


def show_result(run: Run, name: str, result: Result, **selection: Any) -> None:
    """Draw a result of a run, with its exports below it. One that cannot be drawn is told, and hides no other."""
    chosen = {key: value for key, value in selection.items() if value is not None}
    try:
        figure = result.select(**chosen).specification()
    except Exception as error:  # a table of the right columns may hold anything
        st.error(f"{literal(name)} cannot be drawn: {literal(f'{type(error).__name__}: {error}')}")
        return
    st.plotly_chart(
        draw_on_screen(figure, dark=is_dark()), theme=None, key=f"chart-{name}", config=MODEBAR, alt=figure.alt or figure.title
    )
    if figure.caption.strip(" ;:."):
        st.caption(literal(figure.caption))
    offer_exports(run, name, figure, chosen)


def summary_of(result: Result) -> str:
    """A result in words, or why it has none."""
    try:
        return result.summary()
    except Exception as error:  # a table of the right columns may hold anything
        return f"This result cannot be put in words: {type(error).__name__}: {error}"


def offer_exports(run: Run, name: str, figure: Figure, chosen: dict[str, Any]) -> None:
    """Files of the figure, drawn only when they are asked for, its numbers, and the code that draws it."""
    with st.expander(f"Export, numbers and code: {literal(name.replace('_', ' '))}"):
        buttons = st.columns(4)
        for column, suffix in zip(buttons, ("svg", "pdf", "png"), strict=False):
            column.download_button(
                suffix.upper(),
                data=partial(render_for_print, figure, suffix),
                file_name=f"{run.path.name}-{name}.{suffix}",
                key=f"export-{name}-{suffix}",
            )
        buttons[3].download_button(
            "CSV",
            data=lambda: figure.to_frame().to_csv(index=False).encode(),
            file_name=f"{run.path.name}-{name}.csv",
            key=f"export-{name}-csv",
        )
        arguments = ", ".join(f"{key}={value!r}" for key, value in chosen.items())
        st.code(
            "from statescope import Run\n\n"
            f"result = Run({str(run.path)!r}).result({name!r})\n"
            f"result.figure({arguments}).show()\n"
            "result.to_frame()",
            language="python",
        )
        st.dataframe(figure.to_frame(), height=240, key=f"numbers-{name}")
