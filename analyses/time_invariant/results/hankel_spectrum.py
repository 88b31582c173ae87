"""Hankel singular values: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

NEEDED = 0.01  # of the sum of all: what the states that count leave


@dataclass(frozen=True)
class HankelSpectrum(Result, kind="hankel_spectrum"):
    """The Hankel singular values of every system of each layer, largest first; see `LinearSystem`."""

    title: ClassVar[str] = "Hankel singular values"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "system": "which of the layer's systems",
        "index": "rank of the state, from 1",
        "value": "Hankel singular value",
        "share": "of the sum of all of the system",
        "bound": "twice the sum of all that come after: no frequency's gain is further off with the states up to this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "system")

    def needed(self) -> pd.DataFrame:
        """For each model, layer and system: the states, and how many leave at most 1% of the sum."""
        places = ["model", "layer", "system"]
        short = self.table[self.table["bound"] > 2 * NEEDED * self.table.groupby(places)["value"].transform("sum")]
        sizes = self.table.groupby(places, sort=False).size().rename("states")
        counts = short.groupby(places, sort=False).size().rename("needed").add(1)
        return pd.concat([sizes, counts], axis=1).fillna({"needed": 1}).astype(int).reset_index()

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.needed().groupby(["model", "layer"], sort=False):
            lines.append(
                f"{model}, layer {layer}: {own['needed'].median():g} of {own['states'].iloc[0]} states (median over {len(own)} "
                f"systems, at most {own['needed'].max()}) hold all but {NEEDED:.0%} of the sum of the Hankel singular values"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The share by rank: mean over the systems of each layer, with the range."""
        lines = [
            Line.of_rows(own, "index", "share", f"{model}, layer {layer}", markers=True)
            for (model, layer), own in self.table[self.table["share"] > 0].groupby(["model", "layer"], sort=False)
        ]
        panel = Panel(lines, "rank of the state", "share of the sum", y_log=True)
        return Figure(
            self.title,
            [panel],
            columns=1,
            alt=f"Hankel singular values of time-invariant layers. {self.summary()}",
            caption="Means over the systems of a layer, with the least and the largest.",
        )
