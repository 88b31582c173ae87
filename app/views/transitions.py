"""The eigenvalues of the transitions."""

from __future__ import annotations

import streamlit as st

from statescope.analyses.spectra.transition_spectrum import TransitionSpectrum
from statescope.app.components.choose import choose
from statescope.app.components.figure import show_result, summary_of
from statescope.app.components.runs import current_run, read_result
from statescope.probe.runs.run import Run

ALL = "all"


def show(run: Run) -> None:
    """Draw the page."""
    st.header("Transitions")
    st.markdown(
        "Each token multiplies the state by a transition. Its eigenvalues say what the state can do: 1 keeps, 0 forgets, "
        "-1 flips a sign (parity), a complex pair turns (counting)."
    )
    result = read_result(run, "transition_spectrum")
    if not isinstance(result, TransitionSpectrum):
        return
    selection: dict[str, object] = {}
    columns = st.columns(4)
    for column, name in zip(columns, ("model", "layer", "head", "position"), strict=True):
        options = [ALL, *(str(value) for value in result.select(**selection).table[name].drop_duplicates().sort_values())]
        chosen = choose(name, options, name, where=column)
        if chosen != ALL:
            selection[name] = chosen if name == "model" else int(chosen)
    show_result(run, "transition_spectrum", result, **selection)
    st.text(summary_of(result.select(**selection)))


show(current_run())
