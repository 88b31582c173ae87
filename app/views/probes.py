"""What linear probes read, and how it survives."""

from __future__ import annotations

import streamlit as st

from statescope.analyses.behaviour.survival import Survival
from statescope.app.components.choose import choose
from statescope.app.components.figure import show_result
from statescope.app.components.runs import current_run, read_result
from statescope.app.components.text import literal
from statescope.probe.runs.run import Run
from statescope.probe.statistics.scores import ProbeScores

ALL = "all"


def show(run: Run) -> None:
    """Draw the page."""
    st.header("Probes")
    st.markdown(
        "A linear probe reads a label from an activation. It means something only beside what it is compared with: always "
        "answering the most frequent class (majority), and the same probe on labels drawn at random for each context (control)."
    )
    result = read_result(run, "probes")
    if not isinstance(result, ProbeScores):
        return
    columns = st.columns(3)
    selection = {}
    for column, name in zip(columns, ("model", "label", "layer"), strict=True):
        options = [ALL, *map(str, dict.fromkeys(result.table[name].sort_values()))]
        chosen = choose(name, options, name, where=column)
        if chosen != ALL:
            selection[name] = int(chosen) if name == "layer" else chosen
    show_result(run, "probes", result, **selection)
    table = result.select(**selection).table
    shown = ["model", "label", "hook", "position", "accuracy", "low", "high", "majority", "control", "selectivity", "samples"]
    st.dataframe(table[shown].round(3), hide_index=True)
    st.caption(literal("; ".join(f"{key}: {value}" for key, value in result.about.items())))
    if "survival" in run.result_names:
        st.subheader("Survival at distance")
        st.markdown("Accuracy of the same probes where the label is present, by how long ago it arose.")
        far = read_result(run, "survival")
        if isinstance(far, Survival):
            label = selection.get("label")
            known = set(far.table["label"])
            show_result(run, "survival", far, label=label if label in known else None)


show(current_run())
