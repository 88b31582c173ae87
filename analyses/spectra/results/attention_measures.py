"""How attention spreads: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class AttentionMeasures(Result, kind="attention_measures"):
    """The measures of each row of each head's mixing matrix."""

    title: ClassVar[str] = "How attention spreads"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer; of a vector state, the mean over its channels",
        "sequence": "sequence of the batch",
        "position": "token that attends",
        "entropy": "of the shares of the weights, in nats",
        "attended": "e to the entropy: tokens attended to",
        "concentration": "largest share",
        "reach": "mean distance of what is attended to, in tokens",
        "negative": "share of the weights, by size, that are below 0; nan where they are complex",
        "erased": "size of what erasure changes, beside the row without it; nan where nothing erases",
        "own": "size of the weight of the token itself, which is the modulus of an eigenvalue of the causal matrix",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def spectral_gap(self) -> pd.DataFrame:
        """For each model, layer, head and sequence: 1 - max_{t > 0} |M_tt|, a gap where the matrix is stochastic."""
        later = self.table[self.table["position"] > 0]
        places = ["model", "layer", "head", "sequence"]
        return (1 - later.groupby(places, sort=False)["own"].max()).rename("gap").reset_index()

    def summary(self) -> str:
        lines = []
        gaps = self.spectral_gap()
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            last = own[own["position"] == own["position"].max()]
            gap = gaps[(gaps["model"] == model) & (gaps["layer"] == layer)]["gap"]
            stochastic = f"{model}, layer {layer}" in self.about["softmax"]
            said = f"; spectral gap {gap.min():.3f} to {gap.max():.3f}" if stochastic and len(gap) else ""
            if own["negative"].notna().any():
                said = f"; {own['negative'].mean():.1%} of it is negative{said}"
            if own["erased"].notna().any():
                said += f"; erasure changes the last row by {last['erased'].mean():.0%}"
            most, back = last["concentration"].mean(), last["reach"].mean()
            lines.append(
                f"{model}, layer {layer}: the last token attends to {last['attended'].mean():.1f} tokens, {back:.1f} back on "
                f"average, and to one with {most:.0%} of the weight{said}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Tokens attended to, concentration and reach by position: means over heads and sequences, with the range."""
        wanted = {"attended": "tokens attended to", "concentration": "largest share", "reach": "mean distance (tokens)"}
        panels = []
        for column, label in wanted.items():
            lines = [
                Line.of_rows(own, "position", column, f"{model}, layer {layer}")
                for (model, layer), own in self.table.groupby(["model", "layer"], sort=False)
            ]
            panels.append(Panel(lines, "token position", label, label.capitalize()))
        return Figure(
            self.title,
            panels,
            columns=3,
            alt=f"How attention spreads by position. {self.summary()}",
            caption="Means over heads and sequences, with the least and the largest.",
        )
