"""Which direction moves the output most: table and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook


@dataclass(frozen=True)
class DirectionChoice(Result, kind="direction_choice"):
    """How far steering along each candidate moves the output, beside random directions as long, on validation data."""

    title: ClassVar[str] = "Which direction moves the output"
    columns: ClassVar[dict[str, str]] = {
        "place": "the model, and what is changed in it",
        "direction": "the concept",
        "hook": "the activation that is moved",
        "method": "how the direction was found",
        "effect": "mean change of what is measured, on validation data",
        "random": "root mean square of the changes by random directions",
        "ratio": "effect over random",
        "chosen": "whether it has the largest ratio of its place and concept",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("place", "direction")

    def summary(self) -> str:
        """Name the choice of each place and concept, and the runner-up among the ways to find it."""
        lines = []
        for row in self.table[self.table["chosen"]].itertuples():
            own = self.table[(self.table["place"] == row.place) & (self.table["direction"] == row.direction)]
            others = own[own["method"] != row.method]["ratio"]
            beside = "" if others.empty else f"; the best other way reaches {others.max():.1f}"
            lines.append(
                f"{row.direction.replace('_', ' ')}, {row.place}: {row.method} at {short_hook(row.hook)} moves the output "
                f"{row.ratio:.1f} times as far as random directions do{beside}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels, reach = [], float(self.table["ratio"].abs().max()) or 1.0
        for (place, name), own in self.table.groupby(["place", "direction"], sort=False):
            hooks, methods = list(dict.fromkeys(own["hook"])), list(dict.fromkeys(own["method"]))
            grid = own.pivot(index="method", columns="hook", values="ratio").loc[methods, hooks]
            columns = [short_hook(hook) for hook in hooks]
            heat = Heatmap(grid.to_numpy(), methods, columns, "effect / random", diverging=True, limits=(-reach, reach))
            panels.append(Panel([heat], "", "", f"{place}: {str(name).replace('_', ' ')}"))
        return Figure(self.title, panels, columns=2, alt=f"Candidates for steering. {self.summary()}")
