"""Two runs side by side: what differs in their settings, and the same result of both under one selection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from ...probe.results.result import Result
from ...probe.results.text import visible
from ...probe.runs.run import Run
from ..components.choose import choose, choose_rows
from ..components.figure import show
from ..components.index import runs_there_are
from ..components.origin import OfRun
from ..components.runs import kinds_of, read_result
from ..components.text import in_words, literal
from ..environment import runs_folder
from .page import FolderPage


class Compare(FolderPage, kind="compare"):
    """The run of the side bar, and another."""

    title = "Compare"
    icon = ":material/compare_arrows:"
    order = 5

    def draw(self) -> None:
        st.header(self.title)
        names = [facts.name for facts in runs_there_are() if facts.status != "damaged"]
        first = st.session_state.get("run")
        others = [name for name in names if name != first]
        if first is None or not others:
            st.info("Two runs are needed to compare.", icon=":material/info:")
            return
        second = choose(f"{first} beside", others, "beside", where=st.columns(2)[0])
        runs = [Run(runs_folder() / name) for name in (first, second)]
        _tell_differences(*runs)
        common = [name for name, kind in kinds_of(runs[0]).items() if kind is not None and kinds_of(runs[1]).get(name) == kind]
        if not common:
            st.info("These runs have no result in common.", icon=":material/info:")
            return
        name = choose("result", common, "result", where=st.columns(2)[0], format_func=in_words)
        read = [(run, read_result(run, name)) for run in runs]
        sound: list[tuple[Run, Result]] = [(run, result) for run, result in read if result is not None]
        where = choose_rows([result for _, result in sound])
        for column, (run, result) in zip(st.columns(2), sound, strict=False):
            with column:
                st.subheader(literal(run.path.name))
                show(OfRun(run), name, result, where, narrow=True)


def _tell_differences(one: Run, other: Run) -> None:
    """The settings in which the runs differ, each by its path, such as training.steps."""
    left, right = (_flat(run.manifest.configuration) | {"study": run.manifest.study} for run in (one, other))
    differing = [name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name)]
    if not differing:
        st.caption("Both were run with the same settings.")
        return
    st.caption(f"{len(differing)} settings differ." if len(differing) > 1 else "One setting differs.")
    table = {
        visible(run.path.name): [visible(settings.get(name, "")) for name in differing]
        for run, settings in ((one, left), (other, right))
    }
    st.dataframe(pd.DataFrame(table, index=pd.Index([visible(name) for name in differing], name="setting")))


def _flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{path}{name}.") if isinstance(value, Mapping) else {f"{path}{name}": value}
    return found
