"""Cosines of directions and projection on directions: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook


@dataclass(frozen=True)
class DirectionCosines(Result, kind="direction_cosines"):
    """The cosine of every pair of directions of one activation, under each of some metrics."""

    title: ClassVar[str] = "Cosines of directions"
    columns: ClassVar[dict[str, str]] = {
        "hook": "the activation",
        "metric": "what angles are measured by",
        "first": "name of a direction",
        "second": "name of another",
        "cosine": "of the two",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("hook", "metric")

    def summary(self) -> str:
        """Give the largest and the mean size of the cosines of different directions, under each metric."""
        lines = []
        for (hook, metric), own in self.table.groupby(["hook", "metric"], sort=False):
            others = own[own["first"] < own["second"]]
            if others.empty:
                lines.append(f"{short_hook(str(hook))}: one direction")
                continue
            top = others.loc[others["cosine"].abs().idxmax()]
            lines.append(
                f"{short_hook(str(hook))}, {metric} metric: mean |cosine| {others['cosine'].abs().mean():.2f}, largest "
                f"{top['cosine']:+.2f} of {top['first'].replace('_', ' ')} and {top['second'].replace('_', ' ')}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for (hook, metric), own in self.table.groupby(["hook", "metric"], sort=False):
            order = list(dict.fromkeys(own["first"]))
            square = own.pivot(index="first", columns="second", values="cosine").loc[order, order]
            labels = [str(label).replace("_", " ") for label in order]
            heat = Heatmap(square.to_numpy(), labels, labels, "cosine", diverging=True, limits=(-1.0, 1.0))
            panels.append(Panel([heat], "", "", f"{short_hook(str(hook))}, {metric}"))
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
        "projection": "component along the direction, from its origin, in units of its scale",
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
