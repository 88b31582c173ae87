"""All runs there are: finished, running, interrupted, failed, damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from ...probe.errors import StatescopeError
from ...probe.results.text import visible
from ...probe.runs.run import Run
from ..components.choose import choose, search
from ..components.index import STATUSES, RunFacts, runs_there_are
from ..components.start import tell_status
from ..components.tags import LONGEST, tag, tags_there_are
from ..components.text import literal
from ..environment import runs_folder
from .page import FolderPage

ALL = "all"
UNTAGGED = "untagged"  # why tags were not kept
SIGNS = {"finished": "✔", "running": "▶", "interrupted": "❚❚", "failed": "✘", "damaged": "⚠"}


class Runs(FolderPage, kind="runs"):
    """A table to sort and filter; the run that is chosen there is the one that the other pages show."""

    title = "Runs"
    icon = ":material/folder_open:"
    order = 0

    def draw(self) -> None:
        st.header(self.title)
        found, tags = runs_there_are(), tags_there_are()
        counts = {status: sum(facts.status == status for facts in found) for status in STATUSES}
        st.caption(", ".join(f"{count} {status}" for status, count in counts.items() if count))
        left, middle, right = st.columns([2, 1, 1])
        words = search("search", "search", where=left)
        status = choose("status", [ALL, *(status for status in STATUSES if counts[status])], "status", where=middle)
        studies = sorted({facts.study for facts in found if facts.study})
        study = choose("study", [ALL, *studies], "study", where=right)
        shown = [facts for facts in found if _fits(facts, tags.get(facts.name, ()), words, status, study)]
        if not shown:
            st.info("No run fits.", icon=":material/info:")
            return
        st.dataframe(
            _table(shown, tags),
            hide_index=True,
            key="runs",
            on_select=lambda: open_row(shown),
            selection_mode="single-row",
            height=min(38 + 35 * len(shown), 600),
            column_config={
                "done": st.column_config.ProgressColumn("done", min_value=0.0, max_value=1.0, format="percent"),
                "time": st.column_config.NumberColumn("time", format="%.0f s"),
                "tags": st.column_config.ListColumn("tags"),
                "created": st.column_config.DatetimeColumn("created", format="YYYY-MM-DD HH:mm"),
            },
        )
        st.caption("A click on a row chooses the run that the other pages show. Click a column's name to sort.")
        chosen = next((facts for facts in shown if facts.name == st.session_state.get("run")), None)
        if chosen is not None:
            _tell(chosen)
            _offer_tags(chosen.name, tags)


def open_row(shown: Sequence[RunFacts]) -> None:
    """The run whose row was clicked becomes the one that all pages show."""
    rows = st.session_state["runs"]["selection"]["rows"]
    if rows and shown[rows[0]].status != "damaged":
        st.session_state["run"] = shown[rows[0]].name


def _fits(facts: RunFacts, tags: Sequence[str], words: str, status: str, study: str) -> bool:
    text = f"{facts.name} {facts.study} {facts.status} {facts.note} {' '.join(tags)}".lower()
    return status in (ALL, facts.status) and study in (ALL, facts.study) and all(word in text for word in words.lower().split())


def _table(shown: Sequence[RunFacts], tags: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """What stands in the table; of how far a run is, of tags and of notes only where there are any."""
    table = pd.DataFrame(
        {
            "run": [visible(facts.name) for facts in shown],
            "status": [f"{SIGNS[facts.status]} {facts.status}" for facts in shown],
            "study": [visible(facts.study) for facts in shown],
            "created": pd.to_datetime([facts.created or None for facts in shown], utc=True, errors="coerce", format="ISO8601"),
            "seed": ["" if facts.seed is None else str(facts.seed) for facts in shown],
            "results": [facts.results for facts in shown],
            "time": [facts.seconds for facts in shown],
            "done": [facts.done for facts in shown],
            "tags": [list(map(visible, tags.get(facts.name, ()))) for facts in shown],
            "note": [visible(facts.note) for facts in shown],
        }
    )
    empty = {
        "done": all(facts.done is None for facts in shown),
        "tags": not any(tags.get(facts.name) for facts in shown),
        "note": not any(facts.note for facts in shown),
    }
    return table.drop(columns=[name for name, is_empty in empty.items() if is_empty])


def _offer_tags(name: str, tags: Mapping[str, Sequence[str]]) -> None:
    """A box for the tags of a run: those there are to choose from, or new ones to type."""
    own = list(tags.get(name, ()))
    known = sorted({word for words in tags.values() for word in words})
    key = f"tags-{name}"
    st.multiselect(
        "tags",
        known,
        own,
        key=key,
        accept_new_options=True,
        format_func=visible,
        on_change=_put,
        args=(name, key),
        help=f"The search finds them. A tag has {LONGEST} letters at most.",
    )
    if UNTAGGED in st.session_state:
        st.error(f"The tags are not kept: {literal(st.session_state.pop(UNTAGGED))}")


def _put(name: str, key: str) -> None:
    """Keep what the box holds; where that cannot be, the box is as it was, and the page says why."""
    try:
        tag(name, st.session_state[key])
    except StatescopeError as error:
        st.session_state[UNTAGGED] = str(error)
        del st.session_state[key]


def _tell(facts: RunFacts) -> None:
    """What to do with the run that is chosen."""
    st.subheader(literal(facts.name))
    if facts.status == "damaged":
        st.error(f"This run cannot be read: {literal(facts.note)}")
    else:
        tell_status(Run(runs_folder() / facts.name))
        if facts.status == "finished":
            st.caption("Finished. Its pages are in the menu.")
