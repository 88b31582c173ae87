"""Responses: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class SystemResponse(Result, kind="system_response"):
    """The gains of every system of each layer by tokens since an impulse, and by frequency."""

    title: ClassVar[str] = "Responses"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "system": "which of the layer's systems",
        "view": "impulse or frequency",
        "at": "tokens since the impulse, or radians a token",
        "gain": "spectral norm of C A^t B, or of the transfer function G(e^iw); with one input and output its modulus",
        "phase": "its angle in radians with one input and output; nan with more",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "system")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            peak = own[own["view"] == "frequency"].groupby("at")["gain"].mean()
            impulse = own[own["view"] == "impulse"].groupby("at")["gain"].mean()
            lines.append(
                f"{model}, layer {layer}: gain from {peak.min():.3g} to {peak.max():.3g}, at {peak.idxmax():.2f} rad a token; "
                f"an impulse is answered by {impulse.iloc[0]:.3g} at once and {impulse.iloc[-1]:.3g} after {impulse.index[-1]:g}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both responses of each layer: means over its systems, with the range."""
        panels = {"impulse": ("tokens since the impulse", "Impulse response"), "frequency": ("rad a token", "Frequency response")}
        drawn = []
        for view, (label, title) in panels.items():
            lines = [
                Line.of_rows(own, "at", "gain", f"{model}, layer {layer}")
                for (model, layer), own in self.table[self.table["view"] == view].groupby(["model", "layer"], sort=False)
            ]
            positive = all((line.y > 0).all() and (line.low is None or (line.low > 0).all()) for line in lines)
            drawn.append(Panel(lines, label, "gain", title, y_log=positive and view == "frequency"))
        return Figure(
            self.title,
            drawn,
            alt=f"Impulse and frequency responses of time-invariant layers. {self.summary()}",
            caption="Means over the systems of a layer, with the least and the largest.",
        )
