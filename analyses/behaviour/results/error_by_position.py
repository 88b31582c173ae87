"""Squared error against position: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

NAMES = {"ols": "least squares", "ridge": "ridge", "gradient_descent": "one gradient step", "bayes": "Bayes"}


@dataclass(frozen=True)
class ErrorByPosition(Result, kind="error_by_position"):
    """The mean squared error at each position that has a target."""

    title: ClassVar[str] = "Squared error against position"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model, or of an estimator",
        "estimator": "whether it is one: computed from the task's own description, not learned",
        "position": "token position, from 0",
        "error": "mean squared error, in units of the target's variance over all positions",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
    }

    def summary(self) -> str:
        last = self.table["position"].max()
        rows = self.table[self.table["position"] == last]
        return "\n".join(f"{row.model}: {row.error:.3g} of the variance at position {row.position}" for row in rows.itertuples())

    def specification(self) -> Figure:
        lines = []
        for (estimator, model), own in self.table.groupby(["estimator", "model"], sort=False):
            x, y, low, high = (own[name].to_numpy() for name in ("position", "error", "low", "high"))
            label = NAMES.get(str(model), str(model))
            lines.append(Line(x, y, label) if estimator else Line(x, y, label, low, high, markers=True))
        panel = Panel(lines, "token position", "mean squared error / variance", level=(1.0, "answering 0"), y_range=(0.0, 1.5))
        return Figure(self.title, [panel], columns=1, alt=f"Squared error against position. {self.summary()}")
