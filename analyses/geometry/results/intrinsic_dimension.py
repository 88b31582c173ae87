"""Intrinsic dimension of the states: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Intervals, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class IntrinsicDimension(Result, kind="intrinsic_dimension"):
    """The dimension of each head's states by three estimates."""

    title: ClassVar[str] = "Intrinsic dimension of the states"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "points": "different states that were compared",
        "two_neighbours": "dimension by the ratio of the distances to two neighbours; nan with fewer than 20 different states",
        "low": "lower end of its 95% interval",
        "high": "upper end",
        "many_neighbours": "dimension by k neighbours",
        "linear": "participation ratio of the covariance",
        "channels": "real numbers in a state",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            told = own.dropna(subset="two_neighbours")
            if told.empty:
                most = own["points"].max()
                found = f"{most} different states are" if most > 1 else "a single state is"
                lines.append(f"{model}, layer {layer}: {found} too few for a dimension")
                continue
            two, many, linear = (told[name] for name in ("two_neighbours", "many_neighbours", "linear"))
            lines.append(
                f"{model}, layer {layer}: dimension {two.min():.1f} to {two.max():.1f} by two neighbours, over heads, and "
                f"{many.mean():.1f} by {self.about['neighbours']}; linear dimension {linear.mean():.1f} of "
                f"{told['channels'].iloc[0]}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The three estimates, head by head."""
        own = self.table.dropna(subset="two_neighbours")
        names = [f"{row.model}, layer {row.layer}, head {row.head}" for row in own.itertuples()]
        low, high = own["low"].to_numpy(), own["high"].to_numpy()
        marks = [
            Intervals(names, own["two_neighbours"].to_numpy(), "two neighbours", low, high),
            Intervals(names, own["many_neighbours"].to_numpy(), f"{self.about['neighbours']} neighbours"),
            Intervals(names, own["linear"].to_numpy(), "linear"),
        ]
        return Figure(
            self.title,
            [Panel(marks, "dimension", "")],
            columns=1,
            alt=f"Intrinsic dimension of states. {self.summary()}",
            caption="Heads with fewer than 20 different states are not drawn.",
        )
