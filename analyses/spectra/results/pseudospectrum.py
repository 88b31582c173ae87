"""Pseudospectrum: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Line, Panel, Points
from ....probe.results.result import Result

POWERS = 200
EIGENVALUE, RANGE, LEVEL = "eigenvalue", "numerical range", "pseudospectrum"


@dataclass(frozen=True)
class Pseudospectrum(Result, kind="pseudospectrum"):
    """The eigenvalues of one transition or product, with the curves around them."""

    title: ClassVar[str] = "Pseudospectrum"
    columns: ClassVar[dict[str, str]] = {
        "what": "eigenvalue, numerical range (its boundary) or pseudospectrum (the boundary of a level)",
        "level": "log10 of e of a pseudospectrum; nan elsewhere",
        "piece": "which closed curve of a level, from 0",
        "real": "real part",
        "imaginary": "imaginary part",
        "condition": "of an eigenvalue; nan elsewhere",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("what",)

    def summary(self) -> str:
        about = self.about
        worst = self.table[self.table["what"] == EIGENVALUE]["condition"].max()
        said = f"condition up to {worst:.3g}" if pd.notna(worst) else "eigenvalues are not selected"
        return (
            f"{about['where']}: spectral radius {about['radius']:.4f}, numerical radius {about['numerical_radius']:.4f}, norm "
            f"{about['norm']:.4f}; {said}, departure from normality {about['departure']:.3g}; Kreiss constant at least "
            f"{about['kreiss']:.3f}, largest norm of a power up to {POWERS} {about['transient']:.3f}"
        )

    def specification(self) -> Figure:
        """The complex plane: eigenvalues, the numerical range, and a curve a level."""
        marks: list[Line | Points] = []
        for level, own in self.table[self.table["what"] == LEVEL].groupby("level"):
            pieces = [piece[["real", "imaginary"]].to_numpy() for _, piece in own.groupby("piece")]
            broken = np.concatenate([part for piece in pieces for part in (piece, np.full((1, 2), np.nan))])
            marks.append(Line(broken[:, 0], broken[:, 1], f"e = 10^{level:g}"))
        boundary = self.table[self.table["what"] == RANGE]
        if len(boundary):
            marks.append(Line(boundary["real"].to_numpy(), boundary["imaginary"].to_numpy(), "numerical range", dashed=True))
        values = self.table[self.table["what"] == EIGENVALUE]
        if len(values):
            text = [f"condition {value:.3g}" for value in values["condition"]]
            marks.append(Points(values["real"].to_numpy(), values["imaginary"].to_numpy(), "eigenvalues", text=text))
        panel = Panel(marks, "real part", "imaginary part", "", equal=True, unit_circle=True)
        return Figure(self.title, [panel], columns=1, alt=f"Pseudospectrum in the complex plane. {self.summary()}")
