"""Eigenvalues of the transitions a trained model uses, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...probe.results.figure import Figure, Histogram, Panel, Points
from ...probe.results.result import Result
from ..models import Models, named_models, transitions_of
from ..rows import OF_TOKENS, rows_of

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
            caption="Left: the eigenvalues that a token's key moves; the others equal its decay. "
            f"Right: {SHOWN} of them at most for each model, drawn at random.",
        )


def transition_spectrum(models: Models, tokens: Tensor, *, jacobians: bool = False) -> TransitionSpectrum:
    """The eigenvalues of every head's transition at every token.

    models: a model, ours or a loaded one, or several by name.
    tokens: [B, T], or whatever the models take, sequences first.
    jacobians: take cells too, with the Jacobian d state_t / d state_{t-1} of each token in place of a transition.

    Layers without a linear transition are left out. Eigenvalues come from the small problem of the low-rank
    part (see `Transition.eigenvalues`), in float64, and of complex transitions in complex128. Raises ValueError for a model
    without a layer that has a transition.
    """
    named = named_models(models)
    tables = [
        _table(transition, model=name, layer=layer)
        for name, model in named.items()
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians)
    ]
    about = {"sequences": len(tokens), "tokens": tokens.shape[1], "models": list(named)}
    return TransitionSpectrum(pd.concat(tables, ignore_index=True), about)


def _table(transition: Transition, **where: Any) -> pd.DataFrame:
    """Transition [B, T, H] as rows; the K - r eigenvalues that equal a scalar diagonal are one row with a multiplicity."""
    values = transition.eigenvalues()
    moved = transition.rank if transition.is_scalar and transition.rank < transition.size else transition.size
    kept = values[..., : moved + 1] if moved < transition.size else values
    multiplicity = torch.ones(kept.shape[-1], dtype=torch.int64)
    multiplicity[moved:] = transition.size - moved
    real, imaginary = (kept.real, kept.imag) if kept.is_complex() else (kept, torch.zeros_like(kept))
    measured = {"real": real, "imaginary": imaginary, "multiplicity": multiplicity.expand(kept.shape)}
    return rows_of(measured, (*OF_TOKENS, "index"), **where)[list(TransitionSpectrum.columns)]
