"""Unlearning layers: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Panel, Points
from ....probe.results.result import Result


@dataclass(frozen=True)
class UnlearningLayers(Result, kind="unlearning_layers"):
    """Which layers a single gradient step makes forget, at little cost to what is to be kept."""

    title: ClassVar[str] = "Layers to unlearn by"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "parameter, by its name",
        "importance": "norm of the gradient of the loss to forget, over the norm of the parameter: how much a step changes",
        "conflict": "|cosine| of the gradients of the losses to forget and to keep: how much of it what is kept feels",
        "on_front": "whether no other layer has as much importance and as little conflict, and better in one of them (Pareto)",
        "parameters": "entries of the parameter",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer")

    def summary(self) -> str:
        """The layers on the front, the most important first."""
        lines = []
        for model, own in self.table.groupby("model", sort=False):
            front = own[own["on_front"]].sort_values("importance", ascending=False)
            found = ", ".join(f"{row.layer} ({row.importance:.3g}, {row.conflict:.3g})" for row in front.itertuples())
            lines.append(f"{model}: {len(front)} of {len(own)} layers on the front of importance and conflict: {found}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Importance against conflict, with the front marked."""
        panels = []
        for model, own in self.table.groupby("model", sort=False):
            marks = []
            for label, rows in (("others", own[~own["on_front"]]), ("front", own[own["on_front"]])):
                x, y = rows["conflict"].to_numpy(), rows["importance"].to_numpy()
                marks.append(Points(x, y, label, text=rows["layer"].tolist()))
            panels.append(Panel(marks, "conflict with what is kept", "importance", str(model)))
        return Figure(self.title, panels, alt=f"Importance and conflict of layers. {self.summary()}")
