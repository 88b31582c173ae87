"""The run that is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.results.over_seeds import OverSeeds
from ...probe.results.result import DamagedResultError, Result
from ...probe.runs.run import Run
from ..environment import runs_folder
from .address import tell_foreign
from .text import literal


def choose_run(names: Sequence[str]) -> None:
    """A select box of runs whose value always stands in the address: the newest run, its default, is another one tomorrow."""
    given = st.query_params.get("run")
    if given is not None and given not in names:
        tell_foreign("run", given, names)
    elif given is not None and given != st.session_state.get("run_in_address"):  # a link was followed, or the browser went back
        st.session_state["run"] = given
    chosen = st.selectbox("run", names, key="run")
    st.query_params["run"] = st.session_state["run_in_address"] = chosen


def current_run() -> Run:
    """The run chosen in the side bar."""
    return Run(runs_folder() / st.session_state["run"])


def kinds_of(run: Run) -> dict[str, str | None]:
    """The kind of each result of a run, by name; None for one of which neither the manifest nor its file says it.

    The results of several seeds in one are of the kind that these have: they stand on its page, with means and intervals.
    """
    known = {name: record.kind for name, record in run.manifest.results.items() if record.kind != OverSeeds.kind}
    return {name: known.get(name) or _kind(str(_file(run, name)), _digest(run, name)) for name in run.result_names}


def _file(run: Run, name: str) -> Path:
    return run.path / "results" / f"{name}.parquet"


def _digest(run: Run, name: str) -> str:
    return run.manifest.files[f"results/{name}.parquet"].sha256


@st.cache_data(max_entries=4096, show_spinner=False)
def _kind(path: str, digest: str) -> str | None:
    """The kind that a file names, read from its end alone."""
    try:
        kind, about = Result.kind_in(path)
    except DamagedResultError:
        return None
    joined = about.get("kind") if kind == OverSeeds.kind else None
    return joined if isinstance(joined, str) else kind


@st.cache_resource(max_entries=64, show_spinner=False)
def _read(path: str, name: str, digest: str) -> Result:
    """A result of the run at a path, whose file has this digest. Read only: it is shared by all viewers."""
    return Run(path).result(name)


@st.cache_data(max_entries=1024, show_spinner=False)
def _words(path: str, name: str, digest: str) -> str:
    """What a result says, from the manifest where that knows it: its class is then not imported, nor its table read."""
    try:
        return Run(path).summary(name)
    except StatescopeError:
        raise
    except Exception as error:  # a table of the right columns may hold anything
        return f"This result cannot be put in words: {type(error).__name__}: {error}"


def read_result(run: Run, name: str) -> Result | None:
    """A result of a run, or None with a note on the page where its file is damaged or its kind unknown."""
    try:
        return _read(str(run.path), name, _digest(run, name))
    except StatescopeError as error:
        _tell(run, error)
        return None


def read_summary(run: Run, name: str) -> str | None:
    """What a result says in words, or None with a note on the page where its file is damaged or its kind unknown."""
    try:
        return _words(str(run.path), name, _digest(run, name))
    except StatescopeError as error:
        _tell(run, error)
        return None


def _tell(run: Run, error: StatescopeError) -> None:
    command = literal(f"statescope verify {quote(str(run.path))}")
    st.error(f"{literal(error)}\n\n{command} lists what differs; what is sound is shown.")
