"""Starting the smallest study from the page, and following any run that is under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import streamlit as st

from ...analyses.studies.catalogue import SMALLEST, STUDIES
from ...probe.runs.progress import read_progress
from ...probe.runs.run import Run
from .runs import runs_folder


def offer_first_run() -> None:
    """What a newcomer without a run sees."""
    entry = STUDIES[SMALLEST]
    st.header("No runs yet")
    st.markdown(
        "statescope looks inside models whose memory is a state. A study trains models, looks at their states and keeps what it "
        "found in a run folder; this app shows run folders."
    )
    st.code(
        "make demo                    # the two flagship studies, about 7 minutes\nstatescope run parity        # one of them"
    )
    st.markdown(f"Or start here, with the smallest: *{entry.question}*")
    if st.button(f"Run {entry.name} (about {entry.time})", type="primary", icon=":material/play_arrow:"):
        start(SMALLEST)
        st.rerun()


def start(study: str) -> None:
    """Run a study in a process of its own, which outlives this page."""
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "statescope", "run", study, "--out", str(folder / study)]
    with (folder / f".{study}.log").open("wb") as log:
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + 20
    while not (folder / study / "manifest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


@st.fragment(run_every=1.0)
def follow(run: Run) -> None:
    """The progress of a run that another process works in, and a way to stop it."""
    now = Run(run.path)
    if now.status != "running":
        st.rerun()
    progress = read_progress(run.path)
    if progress is None:
        st.info("The run is starting.")
        return
    total, done = progress["total"], progress["done"]
    text = f"{progress['stage']}: {done} of {total}, {progress['note']}" if total else progress["stage"]
    st.progress(done / total if total else 0.0, text=text)
    if st.button("Cancel", icon=":material/stop:", key=f"cancel-{run.path.name}"):
        os.kill(progress["pid"], signal.SIGINT)
        st.toast("Stopping; what is finished is kept.")


def tell_status(run: Run) -> None:
    """Progress of a running run; how to go on with an interrupted or failed one."""
    if run.status == "running":
        follow(run)
    elif run.status == "interrupted":
        st.warning(
            "This run was interrupted. This goes on where it stopped, and ends with the same numbers:\n\n"
            f"`statescope run {run.path}`"
        )
    elif run.status == "failed":
        st.error(f"This run failed: {run.manifest.error}")
