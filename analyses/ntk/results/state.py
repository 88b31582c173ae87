"""Tangent kernel of the state: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class StateTangent(Result, kind="state_tangent"):
    """How the tangent kernels of states after different tokens couple."""

    title: ClassVar[str] = "Tangent kernel of the state"
    columns: ClassVar[dict[str, str]] = {
        "layer": "layer",
        "position": "token after which the state is read, from 0",
        "other": "the other token",
        "kernel": "mean over samples and directions of K between the two, in squared gradient units",
        "coupling": "kernel / root of the product of those of each token with itself: 1 where training moves both alike",
    }
    selected_by: ClassVar[tuple[str, ...] | None] = ("layer",)

    def summary(self) -> str:
        lines = []
        for layer, own in self.table.groupby("layer"):
            far = own[(own["position"] == own["position"].min()) & (own["other"] == own["other"].max())].iloc[0]
            lines.append(f"layer {layer}: states after tokens {far.position} and {far.other} couple by {far.coupling:.3f}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels, limits = [], (float(self.table["coupling"].min()), float(self.table["coupling"].max()))
        for layer, own in self.table.groupby("layer"):
            square = own.pivot(index="position", columns="other", values="coupling")
            names = [str(position) for position in square.index]
            heat = Heatmap(square.to_numpy(), names, names, "coupling", limits=limits)
            panels.append(Panel([heat], "token", "token", f"Layer {layer}"))
            size = own[own["position"] == own["other"]]
            line = Line(size["position"].to_numpy(), size["kernel"].to_numpy(), f"layer {layer}", markers=True)
            panels.append(Panel([line], "token", "kernel of the state with itself", f"Size, layer {layer}"))
        return Figure(self.title, panels, alt=f"Coupling of the state's tangent kernels over tokens. {self.summary()}")
