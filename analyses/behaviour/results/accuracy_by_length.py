"""Accuracy against length: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import SHARE, Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class AccuracyByLength(Result, kind="accuracy_by_length"):
    """The share of positions answered rightly in sequences of each length."""

    title: ClassVar[str] = "Accuracy against length"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "length": "tokens in a sequence",
        "accuracy": "share of the positions with a target that are right",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "last": "share of sequences whose last position with a target is right",
    }

    def summary(self) -> str:
        longest = self.table[self.table["length"] == self.table["length"].max()]
        return "\n".join(
            f"{row.model}: {row.accuracy:.2%} of positions right at length {row.length}" for row in longest.itertuples()
        )

    def specification(self) -> Figure:
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            x, y, low, high = (own[name].to_numpy() for name in ("length", "accuracy", "low", "high"))
            lines.append(Line(x, y, str(model), low, high, markers=True))
        chance = float(self.about["chance"])
        panel = Panel(lines, "length of the sequence", "accuracy", level=(chance, "chance"), y_range=(0.0, 1.02), bounds=SHARE)
        return Figure(self.title, [panel], columns=1, alt=f"Accuracy against length. {self.summary()}")
