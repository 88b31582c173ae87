"""The runs of one study with the same settings and different seeds, as one: means and intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ...probe.results.over_seeds import over_seeds
from ...probe.results.result import Result
from ...probe.runs.manifest import in_short
from ...probe.runs.provenance import provenance_of
from ...probe.runs.run import Run
from ..components.choose import choose
from ..components.figure import show
from ..components.index import runs_there_are
from ..components.origin import Origin
from ..components.runs import kinds_of, read_result
from ..components.text import in_words, literal
from ..environment import runs_folder
from .page import FolderPage


class SeedsPage(FolderPage, kind="seeds"):
    """The run of the side bar, and those that differ from it in the seed alone."""

    title = "Seeds together"
    icon = ":material/stacked_bar_chart:"
    order = 6

    def draw(self) -> None:
        st.header(self.title)
        chosen = st.session_state.get("run")
        run = None if chosen is None else Run(runs_folder() / chosen)
        held = () if run is None else run.manifest.subject[1]
        if len(held) > 1:
            st.info(
                f"The chosen run holds the seeds {in_short(held)} itself: its own pages, above in the menu, show means and "
                "intervals over them. This page joins runs of one seed each.",
                icon=":material/info:",
            )
            return
        runs = {} if run is None else runs_alike(run)
        if len(runs) < 2:
            st.info(
                "The chosen run is the only one of its settings. Start the same study with other seeds, or with several at once: "
                "`statescope run STUDY --seeds 0..4`",
                icon=":material/info:",
            )
            return
        st.caption(f"{len(runs)} runs with the same settings: seeds {in_short(tuple(runs))}.")
        first, *others = runs.values()
        kinds = kinds_of(first)
        common = [name for name, kind in kinds.items() if kind and all(kinds_of(run).get(name) == kind for run in others)]
        if not common:
            st.info("These runs have no result in common yet.", icon=":material/info:")
            return
        name = choose("result", common, "result", where=st.columns(2)[0], format_func=in_words)
        read = {seed: read_result(run, name) for seed, run in runs.items()}
        sound: dict[int, Result] = {seed: result for seed, result in read.items() if result is not None}
        if len(sound) < len(runs):
            st.warning(
                f"Of {len(runs)} seeds {len(sound)} can be read; the figure is of those: {literal(in_short(tuple(sound)))}"
            )
        if sound:
            show(OfSeeds(tuple(runs[seed] for seed in sound)), name, over_seeds(sound), {})


def runs_alike(run: Run) -> dict[int, Run]:
    """The finished runs of a run's study with its settings, by seed; of several with one seed the newest."""
    own = _but_for_seed(run)
    found: dict[int, Run] = {}
    for facts in runs_there_are():
        if facts.status == "finished" and facts.seed is not None and facts.seed not in found:
            other = Run(runs_folder() / facts.name)
            if other.manifest.study == run.manifest.study and _but_for_seed(other) == own:
                found[facts.seed] = other
    return dict(sorted(found.items()))


def _but_for_seed(run: Run) -> Mapping[str, Any]:
    return {name: value for name, value in run.manifest.configuration.items() if name != "seed"}


@dataclass(frozen=True)
class OfSeeds(Origin):
    """A result of several runs, joined."""

    runs: Sequence[Run]

    @property
    def name(self) -> str:
        return f"{self.runs[0].path.name}-and-{len(self.runs) - 1}-more"

    def provenance(self, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        seeds = [run.manifest.seed for run in self.runs]
        return {"seed": in_short(seeds), "runs": [provenance_of(run, name, where) for run in self.runs]} | more

    def code(self, name: str, where: Mapping[str, Any]) -> str:
        runs = "".join(f"    {run.manifest.seed}: Run({str(run.path)!r}).result({name!r}),\n" for run in self.runs)
        return (
            "from statescope import Run\nfrom statescope.probe.results.over_seeds import over_seeds\n\n"
            f"result = over_seeds({{\n{runs}}})\nresult.figure().show()"
        )
