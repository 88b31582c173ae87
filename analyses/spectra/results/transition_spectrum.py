"""Transition eigenvalues: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Histogram, Panel, Points
from ....probe.results.result import Result

SHOWN = 1500


@dataclass(frozen=True)
class TransitionSpectrum(Result, kind="transition_spectrum"):
    """The eigenvalues of A_t for each model, layer, head, sequence and token."""

    title: ClassVar[str] = "Transition eigenvalues"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "position": "token position",
        "real": "real part of an eigenvalue of A_t",
        "imaginary": "imaginary part",
        "multiplicity": "how many of the K eigenvalues are this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "position")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            share = own.loc[own["real"] < 0, "multiplicity"].sum() / own["multiplicity"].sum()
            radius = np.hypot(own["real"], own["imaginary"]).max()
            lines.append(
                f"{model}, layer {layer}: real parts in [{own['real'].min():.3f}, {own['real'].max():.3f}], "
                f"{share:.2%} of the eigenvalues negative, largest modulus {radius:.3f}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Histogram of the eigenvalues that a token moves, and all of them in the complex plane."""
        real = self.table["real"]
        edges = np.linspace(min(-1.05, real.min() - 0.01), max(1.05, real.max() + 0.01), 64)
        bars, clouds = [], []
        for model, own in self.table.groupby("model", sort=False):
            moved = own[own["multiplicity"] == 1]
            moved = own if moved.empty else moved
            counts, _ = np.histogram(moved["real"], bins=edges)
            bars.append(Histogram(edges, counts / max(counts.sum(), 1), str(model)))
            sample = own.sample(min(len(own), SHOWN), random_state=0)
            clouds.append(Points(sample["real"].to_numpy(), sample["imaginary"].to_numpy(), str(model)))
        plane = Panel(clouds, "real part", "imaginary part", "Complex plane", equal=True, unit_circle=True)
        return Figure(
            self.title,
            [Panel(bars, "real part", "share of eigenvalues", "Eigenvalues along the keys"), plane],
            alt=f"Eigenvalues of the state transitions. {self.summary()}",
            caption="Along the keys: the eigenvalues that a token's key moves; the others equal its decay. "
            f"In the plane: {SHOWN} of all at most for each model, drawn at random.",
        )
