"""HiPPO bases: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class HippoBases(Result, kind="hippo_bases"):
    """The kernels of some states of HiPPO systems over time, and their polynomials."""

    title: ClassVar[str] = "HiPPO bases"
    columns: ClassVar[dict[str, str]] = {
        "system": "legs, legt or fout",
        "state": "which, from 0",
        "time": "time back, in windows of legt and fout",
        "kernel": "what the state weighs the input of then with",
        "polynomial": "what it stands for",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("system", "state")

    def distances(self) -> pd.DataFrame:
        """For each system: the root mean square of kernel less polynomial over that of the polynomial."""
        gap = self.table.assign(gap=(self.table["kernel"] - self.table["polynomial"]) ** 2, own=self.table["polynomial"] ** 2)
        sums = gap.groupby("system", sort=False)[["gap", "own"]].sum()
        return (sums["gap"] / sums["own"]).pow(0.5).rename("distance").reset_index()

    def summary(self) -> str:
        return "\n".join(
            f"{row.system}: kernels are {row.distance:.2g} of their size away from their polynomials, with "
            f"{self.about['states']} states"
            for row in self.distances().itertuples()
        )

    def specification(self) -> Figure:
        """One panel a system: each kernel, and its polynomial dashed."""
        panels = []
        for name, own in self.table.groupby("system", sort=False):
            lines = []
            for state, curve in own.groupby("state", sort=False):
                time = curve["time"].to_numpy()
                lines.append(Line(time, curve["kernel"].to_numpy(), f"state {state}"))
                lines.append(Line(time, curve["polynomial"].to_numpy(), "polynomial", dashed=True))
            panels.append(Panel(lines, "time back", "weight", str(name)))
        return Figure(self.title, panels, columns=3, alt=f"Kernels of HiPPO states beside polynomials. {self.summary()}")
