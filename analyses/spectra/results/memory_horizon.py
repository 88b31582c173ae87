"""Memory of the transitions: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

NEUTRAL = 1e-12  # nats a token: an exponent nearer to 0 neither grows nor decays


@dataclass(frozen=True)
class MemoryHorizon(Result, kind="memory_horizon"):
    """Finite-time Lyapunov exponents of each head over each sequence, fastest first."""

    title: ClassVar[str] = "Memory of the transitions"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "index": "rank of the direction, from 1: the one that grows fastest, or decays slowest",
        "exponent": "mean growth along the direction, in nats a token; -inf where some token erases it",
        "half_life": "tokens until the direction is halved; inf where it does not decay",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            first, growing = own[own["index"] == 1], (own["exponent"] > NEUTRAL).mean()
            lines.append(
                f"{model}, layer {layer}: slowest half-life {first['half_life'].min():.3g} to {first['half_life'].max():.3g} "
                f"tokens over heads and sequences, {growing:.1%} of the directions grow"
            )
        if self.about.get("unresolved"):
            lines.append(f"not all directions are resolved in float64 at {', '.join(self.about['unresolved'])}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For each model and layer the exponents and the half-lives by rank: the mean over heads and sequences, and the range."""
        exponents, lives = [], []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            name, finite = f"{model}, layer {layer}", own[np.isfinite(own["exponent"])]
            if len(finite):
                exponents.append(Line.of_rows(finite, "index", "exponent", name, markers=True))
            decays = own[np.isfinite(own["half_life"]) & (own["half_life"] > 0)]
            if len(decays):
                lives.append(Line.of_rows(decays, "index", "half_life", name, centre="median", markers=True))
        length = int(self.about["tokens"])
        return Figure(
            self.title,
            [
                Panel(exponents, "direction", "nats a token", "Lyapunov exponents", level=(0.0, "neither grows nor decays")),
                Panel(
                    lives, "direction", "half-life (tokens)", "Half-lives", y_log=True, level=(length, "the sequence's length")
                ),
            ],
            alt=f"Lyapunov exponents and half-lives of the directions of the state. {self.summary()}",
            caption="Means (medians of half-lives) over heads and sequences, with the range. Directions that never decay, or "
            "that a token erases, are not drawn.",
        )
