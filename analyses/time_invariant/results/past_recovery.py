"""What the state holds of the past: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import SHARE, Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class PastRecovery(Result, kind="past_recovery"):
    """The memory curve of every system of each layer, and the condition of the map from past inputs to its state."""

    title: ClassVar[str] = "What the state holds of the past"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "system": "which of the layer's systems",
        "lag": "tokens back, from 0",
        "recovered": "share of the variance of the input of this lag that a linear reading of the state recovers",
        "condition": "of the map from the inputs up to this lag to the state; inf where they are more than it can tell apart",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "system")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            by = own.groupby("lag")["recovered"].mean()
            kept = int((by >= 0.5).sum())
            where = f"{model}, layer {layer}"
            said = (
                f"{where}: {kept} of {len(by)} lags are recovered by half or more, {self.about['inputs'][where] * by.sum():.3g} "
                f"numbers in all, of a state of {self.about['states'][where]}"
            )
            finite = own[np.isfinite(own["condition"])]
            if len(finite):
                last = finite[finite["lag"] == finite["lag"].max()]
                said += f"; the map from {last['lag'].iloc[0] + 1} inputs has condition {last['condition'].median():.2g}"
            lines.append(said)
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The memory curve and the condition by lag: means (medians of the condition) over the systems of a layer."""
        curves, conditions = [], []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            name, finite = f"{model}, layer {layer}", own[np.isfinite(own["condition"])]
            curves.append(Line.of_rows(own, "lag", "recovered", name))
            if len(finite):
                conditions.append(Line.of_rows(finite, "lag", "condition", name, centre="median"))
        panels = [Panel(curves, "tokens back", "share recovered", "Memory curve", y_range=(0.0, 1.02), bounds=SHARE)]
        if conditions:
            panels.append(Panel(conditions, "tokens back", "condition", "Map from inputs to state", y_log=True))
        return Figure(
            self.title,
            panels,
            alt=f"Share of past inputs that the state holds. {self.summary()}",
            caption=f"The state is seen with noise of {self.about['noise']:.1g} of its variance.",
        )
