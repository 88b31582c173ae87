"""Linear layers with a share of softmax: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class HybridTable(Result, kind="hybrid"):
    """One row a mixer and a share of softmax layers."""

    title: ClassVar[str] = "Linear layers with a share of softmax"
    columns: ClassVar[dict[str, str]] = {
        "mixer": "the linear mixer",
        "share": "of softmax layers",
        "loss": "held-out loss on the templates, nats a token",
        "recall": "share of recalled values that are right",
        "bytes": "that a sequence of the recall task leaves in memory",
    }

    def mean_over_mixers(self, column: str) -> dict[float, float]:
        """The mean of a column over the linear mixers, at each share of softmax layers."""
        means: dict[float, float] = self.table.groupby("share")[column].mean().to_dict()
        return means

    def summary(self) -> str:
        return "\n".join(
            f"{row.mixer}, {row.share:.0%} softmax: loss {row.loss:.3f}, recall {row.recall:.1%}, {row.bytes / 1024:.1f} KiB"
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        panels = []
        for column, label in (("recall", "share recalled"), ("loss", "loss, nats a token")):
            lines = [
                Line(own["share"].to_numpy(), own[column].to_numpy(), str(mixer), markers=True)
                for mixer, own in self.table.groupby("mixer", sort=False)
            ]
            panels.append(Panel(lines, "share of softmax layers", label))
        return Figure(self.title, panels, alt=self.summary())
