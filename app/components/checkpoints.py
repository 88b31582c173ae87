"""What is measured of a model at each step of its training of which the run keeps a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ...probe.declarations import Declaration, declarations
from ...probe.errors import StatescopeError
from ...probe.results.over_steps import OverSteps
from ...probe.runs.run import Run
from .choose import choose
from .models import ModelInRun
from .origin import Origin, arguments_of
from .text import in_words, literal

FAMILY = "checkpoint_analysis"
NOTHING = "nothing"


@dataclass(frozen=True)
class OfCheckpoints(Origin):
    """An analysis of a model of a run over its checkpoints."""

    run: Run
    label: str
    analysis: Declaration

    @property
    def name(self) -> str:
        return f"{self.run.path.name}-{self.label}".replace("/", "-")

    def provenance(self, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        about = ModelInRun(self.run, self.label).about()
        return about | {"analysis": self.analysis.kind, "selection": dict(where)} | more

    def code(self, name: str, where: Mapping[str, Any]) -> str:
        return (
            "from statescope import Run\n"
            "from statescope.analyses.dynamics.over_checkpoints import over_checkpoints\n"
            f"from {self.analysis.module} import {self.analysis.name}\n\n"
            f"result = over_checkpoints(Run({str(self.run.path)!r}), {self.label!r}, {self.analysis.name}())\n"
            f"result.figure({arguments_of(where)}).show()"
        )


def choose_analysis(run: Run) -> tuple[OfCheckpoints, OverSteps] | None:
    """Select boxes of models with several checkpoints and of analyses; what the chosen one gives, or None."""
    stamps = {label: ModelInRun(run, label).stamp for label in run.model_names}
    several = [label for label, stamp in stamps.items() if len(stamp.split(";")) > 1]
    if not several:
        st.caption(
            "Of each model this run keeps the newest checkpoint alone. `statescope run STUDY --keep 0,10,100` keeps those of "
            "chosen steps too, and what changes from one to the next is measured here."
        )
        return None
    found = {declared.kind: declared for declared in declarations(FAMILY)}
    titles = {kind: str(declared.constants.get("title") or kind) for kind, declared in found.items()}
    boxes = st.columns(4)
    kind = choose(
        "measure at each checkpoint",
        [NOTHING, *titles],
        "analysis",
        where=boxes[0],
        format_func=lambda kind: titles.get(kind, kind),
    )
    label = choose("of the model", several, "checkpoints_of", where=boxes[1], format_func=in_words)
    if kind == NOTHING:
        return None
    try:
        measured = _measured(str(run.path), label, stamps[label], kind)
    except (StatescopeError, ValueError, RuntimeError, MemoryError) as error:
        st.info(f"This cannot be measured of {literal(label)}: {literal(error)}", icon=":material/info:")
        return None
    return OfCheckpoints(run, label, found[kind]), measured


@st.cache_resource(max_entries=12, show_spinner="the checkpoints are measured")
def _measured(path: str, label: str, stamp: str, kind: str) -> OverSteps:
    """An analysis over the checkpoints of a model, whose files have this stamp."""
    from ...analyses.dynamics.over_checkpoints import CheckpointAnalysis, over_checkpoints

    return over_checkpoints(Run(path), label, CheckpointAnalysis.of_kind(kind)())
