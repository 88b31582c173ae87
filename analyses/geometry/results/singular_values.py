"""Singular values over time: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result

SHOWN = 4  # lines; the band has all of them


@dataclass(frozen=True)
class SingularValues(Result, kind="singular_values"):
    """The singular values of S_t or A_t for each model, layer, head, sequence and token, largest first."""

    title: ClassVar[str] = "Singular values over time"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "position": "token position",
        "index": "rank of the singular value, from 1",
        "value": "the singular value",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "sequence")

    def widest(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose second singular value is largest beside its first, on the mean over tokens."""
        own = self.table[(self.table["model"] == model) & (self.table["index"] <= 2)]
        means = own.groupby(["layer", "head", "index"])["value"].mean().unstack()
        layer, head = (means.iloc[:, -1] / means.iloc[:, 0].where(means.iloc[:, 0] > 0)).fillna(0).idxmax()
        return int(layer), int(head)

    def summary(self) -> str:
        last = self.table[self.table["position"] == self.table["position"].max()]
        means = last.groupby(["model", "layer", "index"], sort=False)["value"].mean()
        lines = []
        for model, layer in dict.fromkeys(means.index.droplevel("index")):
            values = means.loc[(model, layer)].iloc[:3]
            lines.append(f"{model}, layer {layer}: after the last token {', '.join(f'{value:.3g}' for value in values)}, ...")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model that holds most beside its first direction: all values as a band along the tokens, a column
        each, and the largest as lines.
        """
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.widest(str(model))
            own = self.select(model=model, layer=layer, head=head).table
            largest = own[own["index"] <= SHOWN].groupby("index")
            lines = [Line.of_rows(rows, "position", "value", f"rank {index}") for index, rows in largest]
            title, value = f"{model}, layer {layer}, head {head}", f"singular value of the {self.about['of']}"
            panels.append(Panel([_band(own)], "token position", "rank", title))
            panels.append(Panel(lines, "token position", value, title))
        return Figure(
            self.title,
            panels,
            alt=f"Singular values of the {self.about['of']} over time. {self.summary()}",
            caption=f"The map: all, the largest on top. The lines: the {SHOWN} largest at most, with the least and the largest "
            "of the sequences. Means over sequences.",
        )


def _band(rows: pd.DataFrame) -> Heatmap:
    """Means over sequences, a row each rank and a column each token."""
    means = rows.groupby(["index", "position"])["value"].mean().unstack()
    ranks, tokens = ([str(name) for name in names] for names in (means.index, means.columns))
    return Heatmap(means.to_numpy(), ranks, tokens, "singular value")
