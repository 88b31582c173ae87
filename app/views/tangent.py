"""The spectrum of the empirical tangent kernel."""

from __future__ import annotations

import streamlit as st

from statescope.analyses.ntk.spectrum import TangentSpectrum
from statescope.app.components.choose import choose
from statescope.app.components.figure import show_result, summary_of
from statescope.app.components.runs import current_run, read_result
from statescope.app.components.text import literal
from statescope.probe.runs.run import Run

ALL = "all"


def show(run: Run) -> None:
    """Draw the page."""
    st.header("Tangent kernel")
    st.markdown(
        "The kernel of a model's gradients. If training is lazy it stays as it was at initialisation; if it is rich it turns "
        "towards the targets."
    )
    if "tangent_kernel" not in run.result_names:
        st.info(f"The study {literal(run.manifest.study)} computes no tangent kernel; `statescope run source-code` does.")
        return
    result = read_result(run, "tangent_kernel")
    if not isinstance(result, TangentSpectrum):
        return
    model = choose("model", [ALL, *dict.fromkeys(result.table["model"])], "model")
    show_result(run, "tangent_kernel", result, model=None if model == ALL else model)
    st.text(summary_of(result))


show(current_run())
