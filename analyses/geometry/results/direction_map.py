"""Cosines of directions and projection on directions: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook


@dataclass(frozen=True)
class DirectionCosines(Result, kind="direction_cosines"):
    """The cosine of every pair of directions of one activation."""

    title: ClassVar[str] = "Cosines of directions"
    columns: ClassVar[dict[str, str]] = {
        "hook": "the activation",
        "first": "name of a direction",
        "second": "name of another",
        "cosine": "of the two",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("hook",)

    def summary(self) -> str:
        others = self.table[self.table["first"] < self.table["second"]]
        if others.empty:
            return "one direction"
        top = others.loc[others["cosine"].abs().idxmax()]
        return f"largest |cosine|: {top['first']} and {top['second']} at {top['hook']}, {top['cosine']:.2f}"

    def specification(self) -> Figure:
        panels = []
        for name, own in self.table.groupby("hook", sort=False):
            square = own.pivot(index="first", columns="second", values="cosine")
            labels = [str(label).replace("_", " ") for label in square.index]
            panels.append(
                Panel([Heatmap(square.to_numpy(), labels, labels, "cosine", diverging=True)], "", "", short_hook(str(name)))
            )
        return Figure(self.title, panels, alt=f"Cosines of concept directions. {self.summary()}")


@dataclass(frozen=True)
class DirectionProjection(Result, kind="direction_projection"):
    """The component of an activation along each direction, token by token of one sequence."""

    title: ClassVar[str] = "Projection on directions"
    columns: ClassVar[dict[str, str]] = {
        "hook": "the activation",
        "direction": "the concept",
        "position": "token position",
        "token": "the token's text",
        "label": "the concept's value after the token",
        "projection": "component along the direction, in units of its scale",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("direction", "hook")

    def summary(self) -> str:
        parts = []
        for (hook, name), own in self.table.groupby(["hook", "direction"], sort=False):
            means = own.groupby(own["label"] > 0)["projection"].mean()
            found = [f"{means[held]:.2f} where {word}" for held, word in ((True, "present"), (False, "absent")) if held in means]
            parts.append(f"{short_hook(str(hook))} {name}: {', '.join(found)}")
        return "\n".join(parts)

    def specification(self) -> Figure:
        panels = []
        for name, own in self.table.groupby("direction", sort=False):
            lines = []
            for at, rows in own.groupby("hook", sort=False):
                lines.append(Line(rows["position"].to_numpy(), rows["projection"].to_numpy(), short_hook(str(at))))
            truth = (rows["label"].to_numpy() > 0).astype(float)
            lines.append(Line(rows["position"].to_numpy(), truth, "present", dashed=True))
            panels.append(Panel(lines, "token position", "projection / scale", str(name).replace("_", " ")))
        return Figure(self.title, panels, columns=1, alt=f"Projection of one sequence on concept directions. {self.summary()}")
