"""What states give back: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class RecallByAge(Result, kind="recall_by_age"):
    """The recall of each head by tokens since a pair was written."""

    title: ClassVar[str] = "What states give back"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "age": "tokens between the pair and the last token, from 0",
        "cosine": "mean over sequences of the cosine of the value read and the value written",
        "recalled": "share of the pairs whose value is the nearest, in angle, of all that the sequence wrote",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            heads = own.groupby("head")["recalled"].sum()
            latest = own[own["age"] == 0]["cosine"].mean()
            lines.append(
                f"{model}, layer {layer}: a state gives back {heads.mean():.1f} of {own['age'].max() + 1} tokens' values on "
                f"average, the best head {heads.max():.1f}; the last token's with a cosine of {latest:.2f}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both by age: means over heads, with the range."""
        panels = []
        for column, label in (("cosine", "cosine"), ("recalled", "share recalled")):
            lines = [
                Line.of_rows(own, "age", column, f"{model}, layer {layer}")
                for (model, layer), own in self.table.groupby(["model", "layer"], sort=False)
            ]
            level = (1 / int(self.about["tokens"]), "chance") if column == "recalled" else (0.0, "unrelated")
            panels.append(Panel(lines, "tokens since it was written", label, level=level))
        return Figure(
            self.title,
            panels,
            alt=f"Recall of values by their own keys, by age. {self.summary()}",
            caption="Means over heads, with the least and the largest.",
        )
