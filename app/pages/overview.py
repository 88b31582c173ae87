"""What a run was and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

import pandas as pd
import streamlit as st

from ...probe.declarations import declarations
from ...probe.results.result import Result
from ...probe.runs.manifest import in_short
from ...probe.runs.run import Run
from ..components.figure import show
from ..components.origin import OfRun
from ..components.runs import read_summary
from ..components.start import tell_status
from ..components.text import in_words, literal
from .page import Page

FEW = 4


class Overview(Page, kind="overview"):
    """The outcome first, then everything in words, then how it was made."""

    title = "Overview"
    icon = ":material/summarize:"
    order = 0
    always = True
    shows = (
        "accuracy_by_length",
        "error_by_position",
        "verdicts",
        "hybrid",
        "curves",
        "numbers",
        "held_out_cost",
    )

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        manifest = run.manifest
        st.header(literal(run.path.name))
        study, seeds = manifest.subject
        st.text(_question(study))
        tell_status(run)
        facts = st.columns(4)
        facts[0].metric("status", run.status)
        facts[1].metric("results", len(run.result_names))
        facts[2].metric("seed" if len(seeds) == 1 else "seeds", in_short(seeds))
        facts[3].metric("time", f"{sum(manifest.seconds.values()):.0f} s")
        for name, result in results.items():
            show(OfRun(run), name, result, {}, words=False)
        st.subheader("What was found")
        for name in run.result_names:
            summary = read_summary(run, name)
            if summary is not None:
                with st.expander(literal(in_words(name)), expanded=summary.count("\n") < FEW):
                    st.text(summary)
        st.subheader("How it was made")
        known = any(found.kind == study for found in declarations("study"))
        own = "" if known else "my_study.py "  # the user's file, which no run names
        again = f"statescope run {own}{quote(str(run.path))}    # the same settings: goes on, or shows that it is finished"
        st.code(again, "bash", wrap_lines=True)
        tables = st.columns(2)
        tables[0].caption("configuration")
        tables[0].json(dict(manifest.configuration), expanded=1)
        tables[1].caption("packages, source and machine")
        made_with = {**manifest.packages, **manifest.source, **manifest.hardware}
        shown = {"name": list(made_with), "value": [str(value) for value in made_with.values()]}
        tables[1].dataframe(pd.DataFrame(shown), hide_index=True)
        _verify(run)


def _question(kind: str) -> str:
    """What a study of this kind asks, as its class says it."""
    asked = [found.constants.get("question", "") for found in declarations("study") if found.kind == kind]
    return next(filter(None, asked), f"The study {kind}.")


def _verify(run: Run) -> None:
    st.subheader("Files")
    st.caption(f"{len(run.manifest.files)} files with their digests in {literal(run.path)}")
    if st.button("Compare every file with its digest", icon=":material/fact_check:"):
        problems = run.problems()
        if problems:
            st.error("\n\n".join(map(literal, problems)))
        else:
            st.success(f"{len(run.manifest.files)} files are as they were written.")
