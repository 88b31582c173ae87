"""States by task state: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Panel, Points
from ....probe.results.result import Result


@dataclass(frozen=True)
class StateProjection(Result, kind="state_projection"):
    """States of each layer, all heads together, on two axes, with their task state."""

    title: ClassVar[str] = "States by task state"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "axes": "discriminant (fitted to the labels), principal, or umap",
        "label": "task state",
        "sequence": "sequence of the batch, of the half that nothing was fitted on",
        "position": "token position",
        "first": "coordinate on the first axis",
        "second": "on the second; 0 where two classes have one discriminant axis",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "axes")

    def summary(self) -> str:
        lines = [
            f"{where}: two states of one {self.about['label']} are {within / between:.2f} times as far apart as two of different "
            f"ones; discriminant axes name {accuracy:.1%} of held-out states rightly"
            for where, (within, between, accuracy) in self.about["distances"].items()
        ]
        alone = self.about.get("alone", 0)
        if alone:
            lines.append(
                f"of {self.about['classes']} classes {alone} {'has' if alone == 1 else 'have'} a single state to fit axes on, "
                "which says nothing of how far states of a class spread; more or longer sequences do"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One panel for each model, layer and kind of axes, one colour a class."""
        panels = []
        for (model, layer, axes), own in self.table.groupby(["model", "layer", "axes"], sort=False):
            clouds = [
                Points(cloud["first"].to_numpy(), cloud["second"].to_numpy(), f"{self.about['label']} {label}")
                for label, cloud in own.groupby("label")
            ]
            panels.append(Panel(clouds, f"first {axes} axis", f"second {axes} axis", f"{model}, layer {layer}"))
        return Figure(self.title, panels, alt=f"States on two axes, by task state. {self.summary()}")
