"""Directions of concepts: projections, cosines, steering."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from ...analyses.geometry.results.direction_map import DirectionCosines, DirectionProjection
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ..components.choose import all_or, choose, choose_position
from ..components.figure import show
from ..components.origin import OfRun
from ..components.text import in_words, literal
from ..components.token_strip import token_strip
from .page import Page


class Directions(Page, kind="directions"):
    """A sequence along a direction, how directions lie to each other, and whether they are causal."""

    title = "Directions"
    icon = ":material/explore:"
    order = 40
    shows = (
        "direction_projection",
        "direction_cosines",
        "direction_choice",
        "causal_check",
        "erasure_effect",
        "patching_sweep",
        "unlearning_layers",
        "sequence_edits",
        "stored_layers",
        "board_edits",
        "steering",
    )
    intro = (
        "A direction is the line along which a concept lies in an activation, in units of the gap between the mean where the "
        "concept is present and where it is absent. It is causal only if moving along it changes what the model does, more than "
        "random directions do. *Steering*, under *Live model*, moves and erases the same directions in any text."
    )

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        self.head()
        for name, result in results.items():
            if isinstance(result, DirectionProjection):
                _walk(run, name, result)
                continue
            where = {}
            if isinstance(result, DirectionCosines) and len(result.selectors["metric"]) > 1:
                st.subheader(result.title)
                box = st.columns(4)[0]
                where["metric"] = choose("metric", [None, *result.selectors["metric"]], "metric", where=box, format_func=all_or)
            show(OfRun(run), name, result, where)


def _walk(run: Run, name: str, result: DirectionProjection) -> None:
    """One sequence, token by token, along one direction."""
    names = list(dict.fromkeys(result.table["direction"]))
    direction = choose("direction", names, "direction", where=st.columns(4)[0], format_func=in_words)
    _scrub(run, result.select(direction=direction).table.sort_values("position"), str(direction))
    show(OfRun(run), name, result, {"direction": direction})


@st.fragment
def _scrub(run: Run, rows: pd.DataFrame, direction: str) -> None:
    """What changes with the token. A step runs this part of the page alone."""
    position = choose_position("token", len(rows) - 1, "position")
    token_strip(
        rows["token"].tolist(),
        rows["projection"].round(3).tolist(),
        position,
        label="projection",
        name=f"projection-{run.path.name}",
    )
    here = rows.iloc[position]
    facts = st.columns(3)
    facts[0].metric("token", literal(here["token"]))
    facts[1].metric("projection / scale", f"{here['projection']:.2f}")
    facts[2].metric(literal(in_words(direction)), int(here["label"]))
