"""Fixed points: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Bars, Figure, Panel, Points
from ....probe.results.result import Result

NO_INPUT = "none"
KINDS = ("attracts", "saddle", "repels", "marginal")


@dataclass(frozen=True)
class FixedPoints(Result, kind="fixed_points"):
    """The fixed points of each head of each cell under each token held."""

    title: ClassVar[str] = "Fixed points"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the cell",
        "token": "token that is held, or none: the cell with its bias alone",
        "point": "which fixed point, from 0, the one most starts lead to first",
        "kind": "attracts, saddle, repels, or marginal where a modulus is within 1e-6 of 1 and none is above",
        "radius": "largest modulus of an eigenvalue of the Jacobian",
        "angle": "the angle of that eigenvalue in radians",
        "unstable": "eigenvalues of modulus above 1",
        "share": "share of the searches that find it",
        "norm": "Euclidean norm of the state, all parts together",
        "first": "coordinate on the first principal axis of the states that the head visits",
        "second": "coordinate on the second; 0 in one dimension",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "token", "kind")

    def summary(self) -> str:
        lines = []
        for (model, layer, token), own in self.table.groupby(["model", "layer", "token"], sort=False):
            counts = own.groupby("head").size()
            said = ", ".join(f"{(own['kind'] == kind).sum()} {kind}" for kind in KINDS if (own["kind"] == kind).any())
            held = "no input" if token == NO_INPUT else f"token {token} held"
            lines.append(f"{model}, layer {layer}, {held}: {counts.mean():.1f} fixed points a head ({said} in all)")
        lines += [f"{where}: no fixed point was found from {self.about['starts']} starts" for where in self.about["none"]]
        return "\n".join(lines)

    def busiest(self, model: str) -> tuple[int, int]:
        """The layer and head of a model with the most fixed points."""
        own = self.select(model=model).table
        layer, head = own.groupby(["layer", "head"]).size().idxmax()
        return int(layer), int(head)

    def specification(self) -> Figure:
        """How many there are of each kind, and for each model those of one head on the axes of its states."""
        bars = []
        panels = []
        for (model, token), own in self.table.groupby(["model", "token"], sort=False):
            counts = np.array([(own["kind"] == kind).sum() for kind in KINDS], float)
            bars.append(Bars(list(KINDS), counts, f"{model}, token {token}"))
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.busiest(model)
            clouds = []
            for kind, own in self.select(model=model, layer=layer, head=head).table.groupby("kind", sort=False):
                texts = [f"token {row.token}, radius {row.radius:.3f}" for row in own.itertuples()]
                clouds.append(Points(own["first"].to_numpy(), own["second"].to_numpy(), str(kind), text=texts))
            panels.append(Panel(clouds, "first axis", "second axis", f"{model}, layer {layer}, head {head}"))
        return Figure(
            self.title,
            [Panel(bars, "", "fixed points", "By kind"), *panels],
            alt=f"Fixed points of cells. {self.summary()}",
            caption="In the plane: the head with the most, on the principal axes of the states that it visits.",
        )
