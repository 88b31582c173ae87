"""The run that is looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.files import sha256
from ...probe.results.result import DamagedResultError, Result, UnknownResultError
from ...probe.runs.run import Run, list_runs
from ..launch import RUNS_VARIABLE
from .choose import tell_foreign
from .text import literal


def runs_folder() -> Path:
    """Where runs are: what the launcher was given."""
    return Path(os.environ.get(RUNS_VARIABLE, "runs"))


def sort_runs() -> tuple[list[Run], list[StatescopeError]]:
    """The runs that can be read, newest first, and what is wrong with the others."""
    found = list_runs(runs_folder())
    return [entry for entry in found if isinstance(entry, Run)], [entry for entry in found if not isinstance(entry, Run)]


def choose_run(names: Sequence[str]) -> None:
    """A select box of runs whose value always stands in the address: the newest run, its default, is another one tomorrow."""
    given = st.query_params.get("run")
    if given != st.session_state.get("run_in_address"):  # a link was followed, or the browser went back
        if given in names:
            st.session_state["run"] = given
        elif given is not None:
            tell_foreign("run", given, names)
    chosen = st.selectbox("run", names, key="run")
    st.query_params["run"] = st.session_state["run_in_address"] = chosen


def current_run() -> Run:
    """The run chosen in the side bar."""
    return Run(runs_folder() / st.session_state["run"])


@st.cache_resource(max_entries=64, show_spinner=False)
def _read(path: str, digest: str) -> Result:
    """A result by path and digest, which it must have. Read only: it is shared by all viewers."""
    if not Path(path).is_file() or sha256(Path(path)) != digest:
        raise DamagedResultError(f"{path} is missing, or is not what was written: its sha256 differs from the manifest's")
    return Result.load(path)


def read_result(run: Run, name: str) -> Result | None:
    """A result of a run, or None with a note on the page where there is none or its file is damaged."""
    file = f"results/{name}.parquet"
    if file not in run.manifest.files:
        where = "is still running" if run.status == "running" else "has none"
        st.info(
            f"No {literal(name.replace('_', ' '))} here: the study {literal(run.manifest.study)} {where}.", icon=":material/info:"
        )
        return None
    try:
        return _read(str(run.path / file), run.manifest.files[file]["sha256"])
    except (DamagedResultError, UnknownResultError) as error:
        command = literal(f"statescope verify {quote(str(run.path))}")
        st.error(f"{literal(error)}\n\n{command} lists what differs; the other pages still work.")
        return None
