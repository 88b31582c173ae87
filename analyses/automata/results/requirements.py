"""What transitions would let a layer track: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Intervals, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class TrackingRequirements(Result, kind="tracking_requirements"):
    """For each head the eigenvalue that meets each requirement best."""

    title: ClassVar[str] = "What transitions would let a layer track"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "task": "what would be tracked",
        "needs": "what a transition must have",
        "modulus": "of the longest-lived eigenvalue of the kind, a token; nan where there is none",
        "angle": "its angle in radians",
        "half_life": "tokens until it is halved",
        "met": "whether it is not halved within the sequence",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "task", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, task), own in self.table.groupby(["model", "task"], sort=False):
            met = own[own["met"]]
            where = f"met by {len(met)} of {len(own)} heads" if len(met) else "met by no head"
            longest = own["half_life"].max()
            said = "no eigenvalue of the kind" if np.isnan(longest) else f"the longest half-life is {longest:.3g} tokens"
            lines.append(f"{model}, {task}: needs {own['needs'].iloc[0]}; {where}, {said}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The modulus of the longest-lived eigenvalue of each kind, head by head."""
        panels = []
        for task, own in self.table.groupby("task", sort=False):
            names = [f"{row.model}, layer {row.layer}, head {row.head}" for row in own.itertuples()]
            values = own["modulus"].fillna(0).to_numpy()
            panels.append(Panel([Intervals(names, values)], "modulus", "", str(task), level=(1.0, "lasts"), x_range=(-0.05, 1.1)))
        return Figure(
            self.title,
            panels,
            columns=len(panels),
            alt=f"Moduli of the eigenvalues that tracking needs. {self.summary()}",
            caption="0 where no token has an eigenvalue of the kind.",
        )
