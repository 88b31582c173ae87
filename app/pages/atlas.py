"""The papers of the atlas: what each claims, and what was measured of it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from ...analyses.atlas.catalogue import Paper, paper_of, papers
from ...analyses.atlas.measurement import weakest
from ...analyses.atlas.stored import DAMAGED
from ...analyses.atlas.verdicts import Verdicts
from ...probe.runs.run import Run
from ..components.choose import choose, search
from ..components.figure import show
from ..components.index import runs_there_are
from ..components.origin import OfRun
from ..components.runs import read_result
from ..components.start import start
from ..environment import runs_folder
from .page import FolderPage

ALL = "all"
FIRST = "P001"
FOUR_DIGITS = st.column_config.NumberColumn(format="%.4g", width=80)  # an error of 5e-16 has no room otherwise
NOT_YET, ABSENT = "not measured yet", "no claim here"
SIGNS = {"holds": "✔", "does not reproduce": "✘", "inconclusive": "?", DAMAGED: "⚠", NOT_YET: "…", ABSENT: "-"}
Measured = Mapping[str, Sequence[tuple[Run, str, Verdicts]]]


class Atlas(FolderPage, kind="atlas"):
    """A table of papers; below it, the one that is chosen."""

    title = "Atlas"
    icon = ":material/map:"
    order = 10

    def draw(self) -> None:
        st.header(self.title)
        st.markdown("What papers claim, and what was found here: each verdict with its numbers, their intervals and the seeds.")
        measured, damaged = _measured()
        status = {number: DAMAGED if number in damaged else _status(paper, measured) for number, paper in papers().items()}
        left, *boxes = st.columns([2, 2, 1.5, 1])
        words = search("search", "search", where=left)
        room = choose("room", [ALL, *sorted({paper.room for paper in papers().values() if paper.room})], "room", where=boxes[0])
        verdict = choose("verdict", [ALL, *(sign for sign in SIGNS if sign in status.values())], "verdict", where=boxes[1])
        kept = choose("set", [ALL, *sorted({paper.set for paper in papers().values() if paper.set})], "set", where=boxes[2])
        shown = [
            paper
            for number, paper in papers().items()
            if room in (ALL, paper.room) and verdict in (ALL, status[number]) and kept in (ALL, paper.set) and _has(paper, words)
        ]
        counts = {sign: sum(status[paper.number] == sign for paper in shown) for sign in SIGNS}
        st.caption(f"{len(shown)} papers: " + ", ".join(f"{count} {sign}" for sign, count in counts.items() if count))
        if shown:
            _draw_table(shown, status)
        number = choose("paper", list(papers()), "paper", index=list(papers()).index(FIRST))
        _draw_paper(papers()[number], measured.get(number, ()))


def _measured() -> tuple[Measured, set[str]]:
    """The verdicts there are, by paper: in the folder of runs, and in that of `make atlas` inside it; and the papers with a
    claim whose verdicts cannot be shown, which the page tells.
    """
    found: dict[str, list[tuple[Run, str, Verdicts]]] = {}
    sound, damaged = set[str](), set[str]()
    for folder in (runs_folder(), runs_folder() / "atlas"):
        for facts in runs_there_are(folder):
            for name, kind in facts.kinds:
                if kind != Verdicts.kind:
                    continue
                run = Run(folder / facts.name)
                result = read_result(run, name)
                if isinstance(result, Verdicts):
                    found.setdefault(result.about["paper"], []).append((run, name, result))
                    sound.add(result.about["claim"])
                else:
                    damaged.add(facts.study)
    return found, set(filter(None, map(paper_of, damaged - sound)))


def _status(paper: Paper, measured: Measured) -> str:
    """The weakest verdict on a paper's claims, or why there is none."""
    if paper.number in measured:
        return weakest([verdicts.verdict for _, _, verdicts in measured[paper.number]])
    return NOT_YET if paper.has_claims else ABSENT


def _has(paper: Paper, words: str) -> bool:
    text = f"{paper.number} {paper.name} {paper.title} {paper.authors} {paper.claim}".lower()
    return all(word in text for word in words.lower().split())


def _draw_table(shown: Sequence[Paper], status: Mapping[str, str]) -> None:
    table = pd.DataFrame(
        {
            "paper": [paper.number for paper in shown],
            "name": [paper.name for paper in shown],
            "verdict": [f"{SIGNS[status[paper.number]]} {status[paper.number]}" for paper in shown],
            "set": [paper.set for paper in shown],
            "room": [paper.room for paper in shown],
            "year": pd.array([paper.year for paper in shown], dtype="Int64"),
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        key="papers",
        on_select=lambda: open_paper(shown),
        selection_mode="single-row",
        height=min(38 + 35 * len(shown), 400),
        column_config={
            "year": st.column_config.NumberColumn("year", format="%d", width=50),
            "paper": st.column_config.TextColumn("paper", width=60),
            "set": st.column_config.TextColumn("set", width=70),
            "room": st.column_config.TextColumn("room", width=210),
        },
    )


def open_paper(shown: Sequence[Paper]) -> None:
    """The paper whose row was clicked is shown below the table."""
    rows = st.session_state["papers"]["selection"]["rows"]
    if rows:
        st.session_state["paper"] = shown[rows[0]].number


def _draw_paper(paper: Paper, found: Sequence[tuple[Run, str, Verdicts]]) -> None:
    st.subheader(f"{paper.number}: {paper.name}")
    st.text(paper.title if not paper.arxiv else f"{paper.title}\n{paper.reference}")
    st.text(f"What it claims, as it would be measured: {paper.claim}")
    if paper.headline:
        st.text(f"What it is known for: {paper.headline}")
    for run, name, verdicts in found:
        about = verdicts.about
        st.text(f"{about['scope']}: {about['statement']} {about['note']}".strip())
        show(OfRun(run), name, verdicts, {}, words=False)
        columns = ["what", "relation", "expected", "tolerance", "over", "found", "low", "high", "verdict"]
        numbers = dict.fromkeys(["expected", "tolerance", "found", "low", "high"], FOUR_DIGITS)
        st.dataframe(verdicts.table[columns], hide_index=True, column_config=numbers)
    if not paper.has_claims:
        st.info("Nothing here measures a claim of this paper yet.", icon=":material/info:")
        return
    st.code(f"statescope atlas verify {paper.number}", "bash")
    if st.button("Measure it here", icon=":material/play_arrow:", key=f"measure-{paper.number}"):
        start(["atlas", "verify", paper.number, "--folder", str(runs_folder())], Path(f".{paper.number}.log"))
        st.toast("It runs; the page of all runs shows how far it is.")
