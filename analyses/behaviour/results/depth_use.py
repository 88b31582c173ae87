"""What skipping a layer changes: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class DepthUse(Result, kind="depth_use"):
    """The relative change of each layer's contribution to the stream, |c' - c| / |c|, when another layer adds nothing.

    Scope "all" skips the layer at every position. Scope "future" skips it at the first half of the positions, and measures the
    second half: what later tokens have from it.
    """

    title: ClassVar[str] = "What skipping a layer changes"
    columns: ClassVar[dict[str, str]] = {
        "scope": '"all" positions, or the effect on "future" ones alone',
        "skipped": "block that adds nothing",
        "layer": "block whose contribution is measured",
        "change": "mean over positions and sequences of |c' - c| / |c|",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "size": "mean of |c| / |stream entering it|, without a skip",
        "divergence": "KL(model || model with the skip) in nats, over the positions that are measured",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("scope", "skipped", "layer")

    def summary(self) -> str:
        lines = []
        for scope, own in self.table.groupby("scope", sort=False):
            by_skip = own.drop_duplicates("skipped").set_index("skipped")["divergence"]
            lines.append(
                f"{scope}: layer {by_skip.idxmax()} is missed most ({by_skip.max():.3g} nats), layer {by_skip.idxmin()} least "
                f"({by_skip.min():.3g} nats)"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        panels = []
        for scope, own in self.table.groupby("scope", sort=False):
            grid = own.pivot(index="skipped", columns="layer", values="change")
            names = [str(layer) for layer in grid.columns]
            heat = Heatmap(grid.to_numpy(), [str(layer) for layer in grid.index], names, "relative change")
            panels.append(Panel([heat], "layer", "skipped", f"{scope} positions"))
        marks = [
            Line(one["skipped"].to_numpy(), one["divergence"].to_numpy(), str(scope), markers=True)
            for scope, one in self.table.drop_duplicates(["scope", "skipped"]).groupby("scope", sort=False)
        ]
        panels.append(Panel(marks, "skipped layer", "KL of the answer in nats"))
        return Figure(self.title, panels, alt=f"Change of later layers when one is skipped. {self.summary()}")
