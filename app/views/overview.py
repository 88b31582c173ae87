"""What a run was and what came out of it."""

from __future__ import annotations

from shlex import quote

import pandas as pd
import streamlit as st

from statescope.analyses.studies.catalogue import study_of_kind
from statescope.app.components.figure import show_result, summary_of
from statescope.app.components.runs import current_run, read_result
from statescope.app.components.start import tell_status
from statescope.app.components.text import literal
from statescope.probe.errors import UnknownNameError
from statescope.probe.runs.run import Run

FEW = 4
FIRST = ("accuracy_by_length", "error_by_position", "held_out_cost", "hybrid", "curves", "numbers", "training")


def show(run: Run) -> None:
    """Draw the page."""
    manifest = run.manifest
    st.header(literal(run.path.name))
    st.text(_question(manifest.study))
    tell_status(run)
    facts = st.columns(4)
    facts[0].metric("status", run.status)
    facts[1].metric("results", len(run.result_names))
    facts[2].metric("seed", manifest.seed)
    facts[3].metric("time", f"{sum(manifest.seconds.values()):.0f} s")
    for name in FIRST:
        if name in run.result_names:
            result = read_result(run, name)
            if result is not None:
                show_result(run, name, result)
    st.subheader("What was found")
    for name in run.result_names:
        result = read_result(run, name)
        if result is not None:
            summary = summary_of(result)
            with st.expander(literal(name.replace("_", " ")), expanded=summary.count("\n") < FEW):
                st.text(summary)
    st.subheader("How it was made")
    st.code(
        f"statescope run {quote(str(run.path))}    # the same settings: goes on, or shows that it is finished", language="bash"
    )
    tables = st.columns(2)
    tables[0].caption("configuration")
    tables[0].json(dict(manifest.configuration), expanded=1)
    tables[1].caption("packages, source and machine")
    made_with = {**manifest.packages, **manifest.source, **manifest.hardware}
    tables[1].dataframe(pd.DataFrame({"value": {name: str(value) for name, value in made_with.items()}}))
    _verify(run)


def _question(kind: str) -> str:
    """What a study of this kind asks."""
    try:
        return study_of_kind(kind).question or f"The study {kind}."
    except UnknownNameError:  # of a plug-in that is not here
        return f"The study {kind}."


def _verify(run: Run) -> None:
    st.subheader("Files")
    st.caption(f"{len(run.manifest.files)} files with their digests in {literal(run.path)}")
    if st.button("Compare every file with its digest", icon=":material/fact_check:"):
        problems = run.problems()
        if problems:
            st.error("\n\n".join(map(literal, problems)))
        else:
            st.success(f"{len(run.manifest.files)} files are as they were written.")


show(current_run())
