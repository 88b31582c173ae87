"""Directions of concepts: how they lie, how a sequence projects on them, what steering does."""

from __future__ import annotations

import streamlit as st

from statescope.analyses.geometry.direction_map import DirectionProjection
from statescope.app.components.choose import choose, choose_position
from statescope.app.components.figure import show_result, summary_of
from statescope.app.components.kept_chart import token_strip
from statescope.app.components.runs import current_run, read_result
from statescope.app.components.text import literal
from statescope.probe.runs.run import Run


def show(run: Run) -> None:
    """Draw the page."""
    st.header("Directions")
    if not {"direction_cosines", "direction_projection", "steering"} & set(run.result_names):
        st.info(f"The study {literal(run.manifest.study)} looks at no directions; `statescope run source-code` does.")
        return
    projection = read_result(run, "direction_projection")
    if isinstance(projection, DirectionProjection):
        st.subheader("Along one sequence")
        names = list(dict.fromkeys(projection.table["direction"]))
        name = choose("direction", names, "direction", format_func=lambda value: str(value).replace("_", " "))
        rows = projection.table[projection.table["direction"] == name].sort_values("position")
        position = choose_position("token", len(rows) - 1, "position")
        strip = f"projection-{run.path.name}"
        token_strip(
            rows["token"].tolist(),
            rows["projection"].round(3).tolist(),
            position,
            label="projection",
            key=strip,
            chosen=lambda: st.session_state.update(position=int(st.session_state[strip]["position"])),
        )
        here = rows.iloc[position]
        facts = st.columns(3)
        facts[0].metric("token", literal(here["token"]))
        facts[1].metric("projection / scale", f"{here['projection']:.2f}")
        facts[2].metric(literal(str(name).replace("_", " ")), int(here["label"]))
        show_result(run, "direction_projection", projection, direction=name)
    cosines = read_result(run, "direction_cosines")
    if cosines is not None:
        st.subheader("Cosines")
        show_result(run, "direction_cosines", cosines)
    steered = read_result(run, "steering")
    if steered is not None:
        st.subheader("Steering")
        st.markdown(
            "A direction is causal only if moving along it changes what the model does, more than a random direction does."
        )
        show_result(run, "steering", steered)
        st.text(summary_of(steered))


show(current_run())
