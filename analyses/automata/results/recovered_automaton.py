"""The automaton behind the states: the table and the figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ....probe.results.figure import SHARE, Figure, Heatmap, Line, Panel
from ....probe.results.result import Result
from ..automaton import Automaton
from ..automaton_graph import graph_panel


@dataclass(frozen=True)
class RecoveredAutomaton(Result, kind="recovered_automaton"):
    """How well automata of each size explain a model, and the table of the smallest that does."""

    title: ClassVar[str] = "The automaton behind the states"
    columns: ClassVar[dict[str, str]] = {
        "states": "clusters of the model's states",
        "followed": "share of held-out tokens at which the table is in the cluster of the model's state",
        "answered": "share at which its answer is the model's",
        "agreement": "share whose cluster is the true state, matched as well as can be; nan without a true automaton",
        "explains": "whether followed and answered are at least 1 - tolerance",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("states",)

    @property
    def automaton(self) -> Automaton | None:
        """The smallest that explains the model, minimal; None where none does."""
        return _made(self.about["automaton"])

    @property
    def true_automaton(self) -> Automaton | None:
        """The automaton of the task has the fewest states that it can; it is None where none was given."""
        return _made(self.about.get("true_automaton"))

    def summary(self) -> str:
        found, best = self.automaton, self.table.loc[self.table["answered"].idxmax()]
        if found is None:
            return (
                f"no automaton of at most {self.table['states'].max()} states explains the model to {self.about['tolerance']:g}; "
                f"the best has {best['states']} and answers {best['answered']:.1%} as the model does"
            )
        size = int(self.table.loc[self.table["explains"], "states"].min())
        said = f"{size} clusters explain the model; with states merged that no answer tells apart, {len(found.answers)}"
        if self.about["true"] is None:
            return said
        same = "they are one" if self.about["equal"] else "they are not the same"
        return f"{said}; the true one has {self.about['true']} states, and {same}"

    def specification(self) -> Figure:
        """How well each size explains, the table of the one that does (state by token, the state after it), and both automata."""
        x = self.table["states"].to_numpy()
        lines = [Line(x, self.table[name].to_numpy(), name, markers=True) for name in ("followed", "answered")]
        level = (1 - float(self.about["tolerance"]), "enough")
        panels = [Panel(lines, "states", "share of held-out tokens", "Size", level=level, y_range=(0.0, 1.02), bounds=SHARE)]
        found = self.automaton
        if found is not None:
            rows = [f"state {state}, answers {answer}" for state, answer in enumerate(found.answers)]
            columns = [f"token {token}" for token in range(found.table.shape[1])]
            panels.append(Panel([Heatmap(found.table.astype(float), rows, columns, "state after")], "", "", "Transition table"))
        for drawn, title in ((found, "Recovered"), (self.true_automaton, "The task's own")):
            graph = None if drawn is None else graph_panel(drawn, title)
            panels += [] if graph is None else [graph]
        return Figure(self.title, panels, alt=f"How well automata explain the model. {self.summary()}")


def _made(plain: Mapping[str, Any] | None) -> Automaton | None:
    return None if plain is None else Automaton(np.array(plain["table"]), np.array(plain["answers"]), int(plain["start"]))
