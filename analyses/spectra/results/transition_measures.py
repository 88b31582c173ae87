"""What transitions do: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import SHARE, Bars, Figure, Histogram, Line, Panel
from ....probe.results.result import Result

ROUNDING = 1e-9  # of an eigenvalue beside the largest: what is nearer to the real line, or to modulus 1, counts as on it
SHARES = {"negative": "negative", "turning": "complex", "growing": "modulus above 1"}


@dataclass(frozen=True)
class TransitionMeasures(Result, kind="transition_measures"):
    """The spectral measures of A_t for each model, layer, head, sequence and token."""

    title: ClassVar[str] = "What transitions do"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "position": "token position",
        "norm": "spectral norm of A_t: the most it stretches a state",
        "least": "least singular value of A_t: the least it leaves of a direction",
        "log_abs_det": "log |det A_t|, in nats; -inf where it erases a direction",
        "radius": "largest modulus of an eigenvalue",
        "angle": "largest angle of an eigenvalue, in radians from 0 to pi: how far A_t turns",
        "negative": "share of the K eigenvalues that are real and below 0",
        "turning": "share that are complex",
        "growing": "share of modulus above 1",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            shares = ", ".join(f"{own[name].mean():.2%} {word}" for name, word in SHARES.items())
            lines.append(
                f"{model}, layer {layer}: eigenvalues {shares}; spectral norm up to {own['norm'].max():.3f}, "
                f"angles up to {own['angle'].max():.3f} rad"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """The norm by position, the angles of all tokens, and the shares of eigenvalues that flip, turn and grow."""
        norms, angles, bars = [], [], []
        edges = np.linspace(0, np.pi, 33)
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            name = f"{model}, layer {layer}"
            norms.append(Line.of_rows(own, "position", "norm", name))
            counts, _ = np.histogram(own["angle"], bins=edges)
            angles.append(Histogram(edges, counts / counts.sum(), name))
            bars.append(Bars(list(SHARES.values()), np.array([own[column].mean() for column in SHARES]), name))
        return Figure(
            self.title,
            [
                Panel(norms, "token position", "spectral norm", "Norm of the transitions", level=(1.0, "no growth")),
                Panel(angles, "largest angle (rad)", "share of tokens", "Rotation", bounds=SHARE),
                Panel(bars, "", "share of eigenvalues", "Eigenvalues", y_range=(0.0, 1.02), bounds=SHARE),
            ],
            columns=3,
            alt=f"Norms, angles and shares of the eigenvalues of transitions. {self.summary()}",
            caption="Bands span the least and the largest over heads and sequences.",
        )
