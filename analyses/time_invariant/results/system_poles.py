"""Poles: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Histogram, Panel, Points
from ....probe.results.result import Result


@dataclass(frozen=True)
class SystemPoles(Result, kind="system_poles"):
    """The eigenvalues of A of every system of each layer."""

    title: ClassVar[str] = "Poles"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "system": "which of the layer's systems, one a channel where each channel has its own",
        "real": "real part of the pole",
        "imaginary": "imaginary part",
        "modulus": "what is left of its mode after a token",
        "angle": "how far its mode turns in a token, in radians",
        "half_life": "tokens until its mode is halved; inf where it does not decay",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "system")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            turning, systems = (own["imaginary"] != 0).mean(), own["system"].nunique()
            lines.append(
                f"{model}, layer {layer}: {systems} systems of {len(own) // systems} states, poles of "
                f"modulus {own['modulus'].min():.4f} to {own['modulus'].max():.4f}, {turning:.0%} complex, half-lives from "
                f"{own['half_life'].min():.3g} to {own['half_life'].max():.3g} tokens"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The complex plane, and how many poles have which half-life."""
        clouds, bars = [], []
        lives = self.table["half_life"].to_numpy()
        finite = np.log10(lives[np.isfinite(lives) & (lives > 0)])
        edges = np.linspace(finite.min() - 1e-6, finite.max() + 1e-6, 31) if len(finite) else np.array([0.0, 1.0])
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            name = f"{model}, layer {layer}"
            clouds.append(Points(own["real"].to_numpy(), own["imaginary"].to_numpy(), name))
            own_lives = own["half_life"].to_numpy()
            kept = own_lives[np.isfinite(own_lives) & (own_lives > 0)]
            bars.append(Histogram(edges, np.histogram(np.log10(kept), bins=edges)[0] / len(own), name))
        return Figure(
            self.title,
            [
                Panel(clouds, "real part", "imaginary part", "Complex plane", equal=True, unit_circle=True),
                Panel(bars, "log10 of the half-life (tokens)", "share of poles", "Half-lives"),
            ],
            alt=f"Poles of time-invariant layers. {self.summary()}",
        )
