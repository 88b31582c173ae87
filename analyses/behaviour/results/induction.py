"""Induction and copying: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Bars, Figure, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class InductionScores(Result, kind="induction_scores"):
    """Induction and copying of a model, whole and without each of its layers."""

    title: ClassVar[str] = "Induction and copying"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "skipped": "block that adds nothing; -1 for the whole model",
        "induction": "gain in nats a token of a block that comes again in order, over one that comes shuffled; 0 where order is "
        "not used",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "copying": "probability of tokens that were seen, less their share of the vocabulary",
        "copying_low": "lower end of its 95% interval over sequences",
        "copying_high": "upper end",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "skipped")

    def summary(self) -> str:
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            whole, parts = own[own["skipped"] < 0].iloc[0], own[own["skipped"] >= 0]
            line = (
                f"{model}: induction {whole.induction:.3g} nats [{whole.low:.3g}, {whole.high:.3g}], copying {whole.copying:.3g}"
            )
            if len(parts):
                needed = parts.loc[parts["induction"].idxmin()]
                line += f"; without layer {int(needed.skipped)} induction is {needed.induction:.3g}"
            lines.append(line)
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for model, own in self.table.groupby("model", sort=False):
            names = ["whole" if skipped < 0 else f"without {skipped}" for skipped in own["skipped"]]
            bars = Bars(names, own["induction"].to_numpy(), "induction", own["low"].to_numpy(), own["high"].to_numpy())
            panels.append(Panel([bars], "", "nats a token", str(model), level=(0.0, "order is not used")))
        return Figure(self.title, panels, alt=f"Induction of the whole model and without each layer. {self.summary()}")
