"""Sharpness: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Bars, Figure, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class Sharpness(Result, kind="sharpness"):
    """The largest eigenvalues of the Hessian of the loss in the parameters; the first is the sharpness."""

    title: ClassVar[str] = "Sharpness"
    columns: ClassVar[dict[str, str]] = {
        "place": "rank of the eigenvalue, 1 for the largest",
        "eigenvalue": "eigenvalue of the Hessian, in units of the loss over those of the parameters squared",
        "residual": "some eigenvalue of the Hessian lies within this, |H v - l v|, of the one that was found",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("place",)

    def summary(self) -> str:
        top = self.table.iloc[0]
        return f"sharpness {top['eigenvalue']:.4g} ± {top['residual']:.1g}, loss {self.about['loss']:.4g}"

    def specification(self) -> Figure:
        values, residual = self.table["eigenvalue"].to_numpy(), self.table["residual"].to_numpy()
        bars = Bars([str(place) for place in self.table["place"]], values, "", values - residual, values + residual)
        panel = Panel([bars], "rank of the eigenvalue", "eigenvalue of the Hessian")
        return Figure(self.title, [panel], columns=1, alt=f"The largest eigenvalues of the Hessian. {self.summary()}")
