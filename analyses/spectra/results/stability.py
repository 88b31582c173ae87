"""Growth of products: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Panel, Ranges
from ....probe.results.result import Result


@dataclass(frozen=True)
class Stability(Result, kind="stability"):
    """Bounds of the joint spectral radius of each head's transitions."""

    title: ClassVar[str] = "Growth of products"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "norm": "largest spectral norm of a transition",
        "radius": "largest spectral radius of one",
        "low": "lower bound of the joint spectral radius: growth a token of the witness",
        "high": "upper bound, from products of the same lengths",
        "witness": "tokens whose product, repeated, grows as the lower bound says, each as sequence:position",
        "verdict": "contraction (no product grows), grows (the witness does), or open",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "verdict")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            counts = ", ".join(
                f"{verdict} in {count} of {len(own)} heads" for verdict, count in own["verdict"].value_counts().items()
            )
            worst = own.loc[own["low"].idxmax()]
            tokens = len(worst["witness"].split())
            lines.append(
                f"{model}, layer {layer}: {counts}; fastest growth found {worst['low']:.4f} a token, by "
                f"{f'a product of {tokens} tokens' if tokens > 1 else 'a single token'}; single radii up to "
                f"{own['radius'].max():.4f}, norms up to {own['norm'].max():.4f}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The bounds of each head, beside 1."""
        panels = []
        for model, own in self.table.groupby("model", sort=False):
            names = [f"layer {row.layer}, head {row.head}: {row.verdict}" for row in own.itertuples()]
            mark = Ranges.between(names, own["low"].to_numpy(), own["high"].to_numpy())
            panels.append(Panel([mark], "joint spectral radius, a token", "", str(model), level=(1.0, "no growth")))
        return Figure(self.title, panels, alt=f"Bounds of the joint spectral radius of transitions. {self.summary()}")
