"""Everything that a run says of its training, on one axis of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from ...probe.declarations import declarations
from ...probe.results.figure import Figure, Panel
from ...probe.results.over_steps import OverSteps
from ...probe.results.palette import REFERENCE
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ...probe.runs.run import Run
from ..components.checkpoints import choose_analysis
from ..components.choose import choose_position, choose_rows, rows_of
from ..components.figure import is_dark, offer
from ..components.kept_chart import kept_chart
from ..components.origin import OfRun, Origin
from ..components.text import caption, literal
from .page import Page

STEP = "step"
UNIT = '`about["unit"]`'  # as the meaning of a column names the unit that stands beside the table


def kinds_over_steps() -> tuple[str, ...]:
    """The kinds of result that have a column of steps, as their classes say it; none of them is imported."""
    return tuple(found.kind for found in declarations(Result.family) if STEP in (found.constants.get("columns") or {}))


class TrainingPage(Page, kind="training"):
    """Losses, and every analysis that was made at several steps, scrubbed together."""

    title = "Training"
    icon = ":material/trending_down:"
    order = 45
    shows = kinds_over_steps()
    intro = (
        "What changes while a model trains, on one axis of steps: the loss, and whatever was measured at several of them. The "
        "line is one step in all charts; the table below says what stands there."
    )

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        self.head()
        where = choose_rows(results.values())
        rows = {name: part for name, result in results.items() if (part := rows_of(result, where)) is not None}
        origins: dict[str, Origin] = dict.fromkeys(rows, OfRun(run))
        over = choose_analysis(run)
        if over is not None:
            name = f"{over[1].about['kind']}-over-training"
            origins[name], rows[name] = over
        last = max((int(result.table[STEP].max()) for result in rows.values()), default=0)
        if rows:
            scrub(run, rows, last)
        for name, result in rows.items():
            figure = result.figure()
            offer(origins[name], name, result, figure, figure.to_frame(), {})


@st.fragment
def scrub(run: Run, rows: Mapping[str, Result], last: int) -> None:
    """The charts over steps, with one step marked in all of them."""
    step = choose_position("step", last, "step", default=last)
    for name, result in rows.items():
        try:
            drawn = result.specification()
            over = [panel for panel in drawn.panels if is_over_steps(panel)]
            if not over:
                continue
            kept_chart(marked(replace(drawn, panels=over), step, last), f"training-{run.path.name}-{name}", drawn.alt)
        except Exception as error:  # a table of the right columns may hold anything
            st.error(f"{literal(name)} cannot be drawn: {literal(f'{type(error).__name__}: {error}')}")
            continue
        caption(drawn.caption)
        if isinstance(result, OverSteps):
            _draw_step(run, name, result, step)
    here = {name: nearest(result.table, step) for name, result in rows.items()}
    for name, table in here.items():
        unit, meanings = rows[name].about.get("unit"), rows[name].columns
        within = f", in {literal(unit)}" if isinstance(unit, str) else ""
        st.caption(f"{literal(name.replace('_', ' '))} at step {int(table[STEP].iloc[0])}{within}")
        height = min(38 + 35 * len(table), 250)
        told = {column: _told(table[column], meanings.get(column, "").replace(UNIT, str(unit))) for column in table}
        st.dataframe(table, hide_index=True, height=height, column_config=told, key=f"at-step-{name}")


def _told(values: pd.Series, meaning: str) -> Any:
    """A column that tells what it means, and in which unit, when one points at its name."""
    if pd.api.types.is_float_dtype(values):
        return st.column_config.NumberColumn(format="%.4g", help=meaning or None)
    return st.column_config.Column(help=meaning or None)


def _draw_step(run: Run, name: str, result: OverSteps, step: int) -> None:
    """The figure of one step beside the curves over all: that of the checkpoint nearest to the step that is marked."""
    own = min(result.steps, key=lambda other: abs(other - step))
    st.caption(f"The checkpoint of step {own}:")
    drawn = result.at(own).specification()
    kept_chart(draw_on_screen(drawn, dark=is_dark()), f"training-{run.path.name}-{name}-step", f"Step {own}. {drawn.alt}")


def is_over_steps(panel: Panel) -> bool:
    """Whether the horizontal axis of a panel is of training steps."""
    return STEP in panel.x_label


def marked(figure: Figure, step: int, last: int) -> object:
    """A figure whose panels all reach from the first step to the last, with a line at one step."""
    shown = [replace(panel, x_range=(0.0, float(last)), x_log=False) for panel in figure.panels]
    chart = draw_on_screen(replace(figure, panels=shown), dark=is_dark())
    for axis in {(trace.xaxis or "x", trace.yaxis or "y") for trace in chart.data}:
        place = {"x0": step, "x1": step, "y0": 0, "y1": 1, "xref": axis[0], "yref": f"{axis[1]} domain"}
        chart.add_shape(type="line", line={"color": REFERENCE, "width": 2, "dash": "dot"}, **place)
    return chart


def nearest(table: pd.DataFrame, step: int) -> pd.DataFrame:
    """The rows of the step nearest to one."""
    steps = table[STEP].drop_duplicates()
    return table[table[STEP] == steps.iloc[(steps - step).abs().argmin()]]
