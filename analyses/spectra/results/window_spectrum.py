"""Eigenvalues of windows: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Histogram, Panel, Points
from ....probe.results.result import Result


@dataclass(frozen=True)
class WindowSpectrum(Result, kind="window_spectrum"):
    """The eigenvalues of A_t+W-1 ... A_t for windows that follow one another."""

    title: ClassVar[str] = "Eigenvalues of windows"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "start": "first token of the window",
        "log_modulus": "log of an eigenvalue's modulus, in nats; -inf for 0",
        "angle": "its angle in radians, from -pi to pi",
        "resolved": "whether float64 tells it from 0 beside the product's norm",
        "multiplicity": "how many of the K eigenvalues are this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        window, lines = int(self.about["window"]), []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            rate = np.exp(own["log_modulus"].max() / window)
            unresolved = own.loc[~own["resolved"], "multiplicity"].sum() / own["multiplicity"].sum()
            lines.append(
                f"{model}, layer {layer}: over {window} tokens the largest modulus is {rate:.4f} a token, and "
                f"{unresolved:.1%} of the eigenvalues are lost in rounding"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Moduli a token, |lambda|^(1/W), and the resolved eigenvalues with that modulus in the complex plane."""
        window, bars, clouds = int(self.about["window"]), [], []
        shown = self.table[self.table["resolved"]]
        rate = np.exp(shown["log_modulus"] / window)
        edges = np.linspace(0, max(1.05, float(rate.max()) + 0.01) if len(rate) else 1.05, 43)
        for (model, layer), own in shown.groupby(["model", "layer"], sort=False):
            modulus = np.exp(own["log_modulus"].to_numpy() / window)
            counts, _ = np.histogram(modulus, bins=edges, weights=own["multiplicity"])
            name = f"{model}, layer {layer}"
            bars.append(Histogram(edges, counts / counts.sum(), name))
            angle = own["angle"].to_numpy()
            clouds.append(Points(modulus * np.cos(angle), modulus * np.sin(angle), name))
        return Figure(
            self.title,
            [
                Panel(bars, "modulus a token", "share of eigenvalues", f"Windows of {window} tokens"),
                Panel(clouds, "real part", "imaginary part", "Modulus a token, whole angle", equal=True, unit_circle=True),
            ],
            alt=f"Eigenvalues of products of transitions over windows. {self.summary()}",
            caption="Eigenvalues that float64 does not tell from 0 are not drawn.",
        )
