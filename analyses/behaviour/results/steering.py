"""Steering: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Bars, Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class Steering(Result, kind="steering"):
    """The effect of steering along a direction, beside random directions of the same length.

    The score of a next-token distribution p is sum_b p(b) log(f(b | concept) / f(b | no concept)), with f the frequencies of
    the next token in the training data where the concept holds and where it does not: how much p looks like the concept.
    """

    title: ClassVar[str] = "Steering"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "direction": "the concept, or random",
        "hook": "the activation that is shifted, at every position",
        "strength": "shift in units of the direction's scale",
        "score": "change of the score, in nats",
        "low": "lower end of its 95% interval over sources",
        "high": "upper end",
        "divergence": "KL divergence of the steered distribution from the unsteered one, in nats",
    }

    def summary(self) -> str:
        strongest = self.table[self.table["strength"] == self.table["strength"].max()]
        return "\n".join(
            f"{row.model}, {row.direction} x {row.strength:g} at {row.hook}: score {row.score:+.3f} "
            f"[{row.low:+.3f}, {row.high:+.3f}]"
            for row in strongest.itertuples()
        )

    def specification(self) -> Figure:
        lines = []
        for (model, name), own in self.table.groupby(["model", "direction"], sort=False):
            x, y, low, high = (own[column].to_numpy() for column in ("strength", "score", "low", "high"))
            lines.append(Line(x, y, f"{model}: {str(name).replace('_', ' ')}", low, high, markers=True))
        panels = [Panel(lines, "strength (gaps between the means)", "change of the concept's score (nats)", "Dose and effect")]
        changes = self.about.get("largest_changes", {})
        for model, found in changes.items():
            names, values = [entry[0] for entry in found], np.array([entry[1] for entry in found])
            panels.append(Panel([Bars(names, values, "")], "next token", "change of probability", f"{model}: at the strongest"))
        return Figure(self.title, panels, alt=f"Effect of steering on the next-token distribution. {self.summary()}")
