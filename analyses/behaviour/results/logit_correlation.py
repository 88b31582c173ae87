"""Do answers follow linearly from other answers?: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ....probe.results.figure import Figure, Intervals, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class LogitCorrelation(Result, kind="logit_correlation"):
    """The correlation of predicted and true logits of held-out entities, beside that of entities paired by chance."""

    title: ClassVar[str] = "Do answers follow linearly from other answers?"
    columns: ClassVar[dict[str, str]] = {
        "pair": "name of the two families of prompts",
        "correlation": "Pearson correlation over output tokens, in the mean of held-out entities",
        "low": "lower end of its 95% interval over entities",
        "high": "upper end",
        "null": "mean of the same with entities of the second family paired by chance",
        "p_value": "share of chance pairings that do as well, itself among them",
        "entities": "how many there are",
    }

    def summary(self) -> str:
        return "\n".join(
            f"{row.pair}: correlation {row.correlation:.3f} [{row.low:.3f}, {row.high:.3f}], by chance {row.null:.3f}, "
            f"p = {row.p_value:.3g}"
            for row in self.table.itertuples()
        )

    def specification(self) -> Figure:
        columns: Any = (self.table[name].to_numpy() for name in ("correlation", "low", "high"))
        value, low, high = columns
        marks = [Intervals(self.table["pair"].tolist(), value, "held-out entities", low, high)]
        return Figure(self.title, [Panel(marks, "correlation", "")], columns=1, alt=self.summary())
