"""Groups that a delta rule tracks: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class Expressivity(Result, kind="expressivity"):
    """Groups tracked by hand-built delta rules: with enough reflections a token, and with fewer."""

    title: ClassVar[str] = "Groups that a delta rule tracks"
    columns: ClassVar[dict[str, str]] = {
        "group": "of the word problem",
        "householders": "reflections a token",
        "largest_beta": "2 for eigenvalues in [-1, 1], 1 for [0, 1]",
        "needed": "the most reflections that an element of the group takes",
        "possible": "whether the construction tracks the group, by the statement above",
        "accuracy": "share of sequences whose last element is right",
        "drift": "largest distance of a state from the group's own, beside 1, over all tokens",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("group", "householders", "largest_beta")

    def summary(self) -> str:
        return "\n".join(
            f"{row.group}, {row.householders} reflections, beta up to {row.largest_beta:g}: "
            f"{'exact' if row.possible else 'not this way'}; accuracy {row.accuracy:.2f} at {self.about['length']} tokens, drift "
            f"{row.drift:.1g}"
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        """Accuracy at the last token by group and reflections, for each range of eigenvalues."""
        panels = []
        for beta, own in self.table.groupby("largest_beta", sort=False):
            square = own.pivot(index="group", columns="householders", values="accuracy").loc[list(dict.fromkeys(own["group"]))]
            columns = [f"{count} reflections" for count in square.columns]
            title = f"eigenvalues in [{-1 if beta == 2 else 0}, 1]"
            heat = Heatmap(square.to_numpy(), list(square.index), columns, "accuracy", limits=(0.0, 1.0))
            panels.append(Panel([heat], "", "", title))
        return Figure(self.title, panels, alt=f"Accuracy of hand-built delta rules on word problems. {self.summary()}")
