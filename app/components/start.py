"""Starting the smallest study from the page, and following any run that is under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import streamlit as st

from ...probe.files import UnwritableError, explaining_failed_writes
from ...probe.runs.lock import LOCK
from ...probe.runs.progress import read_progress
from ...probe.runs.run import Run
from ...probe.runs.run_folder import is_run, why_read_only
from ...probe.runs.study import list_studies
from ..environment import runs_folder
from .text import literal

SMALLEST = "parity-small"


def offer_first_run() -> None:
    """What a newcomer without a run sees."""
    entry = next(one for one in list_studies() if one.name == SMALLEST)
    st.header("No runs yet")
    st.markdown(
        "statescope looks inside models whose memory is a state. A study trains models, looks at their states and keeps what it "
        "found in a run folder; this app shows run folders."
    )
    st.code(
        "make demo                    # the two flagship studies, 7 minutes or so\nstatescope run parity        # one of them"
    )
    st.markdown(f"Or start here, with the smallest: *{entry.question}*")
    if st.button(f"Run {entry.name} (about {entry.time})", type="primary", icon=":material/play_arrow:"):
        out = runs_folder() / SMALLEST
        if start_run(out, [SMALLEST, "--out", str(out)]):
            st.rerun()


def start_run(folder: Path, arguments: Sequence[str]) -> bool:
    """Start `statescope run`, and wait until it works in the folder; False, with why on the page, where it never does."""
    log, told = Path(f".{folder.name}.log"), st.empty()
    try:
        process = start(["run", *arguments], log)
    except UnwritableError as error:
        st.error(f"It was not started: {literal(error)}")
        return False
    begin = time.monotonic()
    while process.poll() is None and not _is_begun(folder):
        told.caption(f"It is starting: {time.monotonic() - begin:.0f} s")
        time.sleep(0.2)
    told.empty()
    if process.poll() in (None, 0) or _is_begun(folder):
        return True
    last = (runs_folder() / log).read_text(errors="replace").strip().splitlines()[-1:]
    st.error(f"It was not started: {literal(last[0] if last else f'its process ended with {process.returncode}')}")
    return False


def _is_begun(folder: Path) -> bool:
    """Whether a process works in a run, or has ended its work."""
    return is_run(folder) and Run(folder).status != "interrupted"


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Run a command of statescope in a process of its own, which outlives this page. log: its output, in the folder of runs.

    Raises UnwritableError where that folder cannot be written to.
    """
    path = runs_folder() / log.name
    with explaining_failed_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # never written through a link that stands there
        output = path.open("xb")
    with output:
        command = [sys.executable, "-m", "statescope", *arguments]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


@st.fragment(run_every=1.0)
def follow(run: Run) -> None:
    """The progress of a run that another process works in, and a way to stop it."""
    now = Run(run.path)
    if now.status != "running":
        st.rerun()
    progress = read_progress(run.path) or {}
    total, done, stage, note = (progress.get(key) for key in ("total", "done", "stage", "note"))
    if not isinstance(stage, str):
        st.info("The run is starting.")
        return
    if isinstance(total, int) and isinstance(done, int) and 0 <= done <= total and total > 0:
        st.progress(done / total, text=literal(f"{stage}: {done} of {total}, {note}"))
    else:
        st.progress(0.0, text=literal(stage))
    worker = worker_of(run, progress.get("pid"))
    if worker is None:
        st.caption("Ctrl-C in its terminal stops it; what is finished is kept.")
    elif st.button("Cancel", icon=":material/stop:", key=f"cancel-{run.path.name}"):
        os.kill(worker, signal.SIGINT)
        st.toast("Stopping; what is finished is kept.")


def worker_of(run: Run, named: object) -> int | None:
    """The process that works in a run, if it is the one its progress names. A file may name any process; the one that works
    in the run holds its lock open.
    """
    if not isinstance(named, int) or isinstance(named, bool) or named <= 1:
        return None
    try:
        held = [os.path.realpath(entry.path) for entry in os.scandir(f"/proc/{named}/fd")]
    except OSError:
        return None  # gone, another user's, or a system that does not say
    return named if os.path.realpath(run.path / LOCK) in held else None


def tell_status(run: Run) -> None:
    """Progress of a running run; how to go on with an interrupted or failed one."""
    if run.status == "running":
        follow(run)
    elif run.status == "interrupted" and (why := why_read_only(run.path)) is not None:
        st.warning(f"This run was interrupted, and {literal(why)}")
    elif run.status == "interrupted":
        st.warning(
            "This run was interrupted. This goes on where it stopped, and ends with the same numbers:\n\n"
            + literal(f"statescope run {quote(str(run.path))}")
        )
        going_on = st.button("Go on", icon=":material/play_arrow:", key=f"go-on-{run.path.name}")
        if going_on and start_run(run.path, [str(run.path)]):
            st.rerun()
    elif run.status == "failed":
        st.error(f"This run failed: {literal(run.manifest.error)}")
