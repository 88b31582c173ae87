"""What every transition does to a state, in numbers: how far it stretches, shrinks, flips and turns, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...probe.results.figure import Bars, Figure, Histogram, Line, Panel
from ...probe.results.result import Result
from ..models import Models, named_models, transitions_of
from ..rows import rows_of

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
                Panel(angles, "largest angle (rad)", "share of tokens", "Rotation"),
                Panel(bars, "", "share of eigenvalues", "Eigenvalues", y_range=(0.0, 1.02)),
            ],
            columns=3,
            alt=f"Norms, angles and shares of the eigenvalues of transitions. {self.summary()}",
            caption="Bands span the least and the largest over heads and sequences.",
        )


def transition_measures(models: Models, tokens: Tensor, *, jacobians: bool = False) -> TransitionMeasures:
    """Measure every head's transition at every token, in float64 and through the structure of A_t.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    jacobians: take cells too, with the Jacobian d state_t / d state_{t-1} of each token in place of a transition.

    With a scalar diagonal and a low rank r no problem is larger than 2r x 2r (see `Transition`). An eigenvalue within 1e-9 of the
    real line, beside the largest, counts as real, and one within 1e-9 of modulus 1 as not growing. Raises ValueError for a model
    without a layer that has a linear transition.
    """
    named = named_models(models)
    tables = [
        _table(transition, model=name, layer=layer)
        for name, model in named.items()
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians)
    ]
    about = {"sequences": len(tokens), "tokens": tokens.shape[1], "models": list(named)}
    return TransitionMeasures(pd.concat(tables, ignore_index=True), about)


def measures_of(transition: Transition) -> dict[str, Tensor]:
    """The measures of each transition of a batch [...], by the names of the columns of `TransitionMeasures`."""
    values, counts = transition.distinct_eigenvalues()
    shares = counts.double() / transition.size
    norm, least = transition.extreme_singular_values()
    modulus = values.abs()
    radius = modulus.amax(-1)
    turning = values.imag.abs() > ROUNDING * radius[..., None]
    flipped = ~turning & (values.real < -ROUNDING * radius[..., None])
    held = modulus > ROUNDING * radius[..., None]
    return {
        "norm": norm,
        "least": least,
        "log_abs_det": transition.log_abs_det(),
        "radius": radius,
        "angle": (torch.where(flipped, torch.pi, values.angle().abs()) * (held & (turning | flipped))).amax(-1),
        "negative": flipped.double() @ shares,
        "turning": turning.double() @ shares,
        "growing": (modulus > 1 + ROUNDING).double() @ shares,
    }


def _table(transition: Transition, **where: Any) -> pd.DataFrame:
    """Transitions [B, T, H] as rows."""
    return rows_of(measures_of(transition), **where)[list(TransitionMeasures.columns)]
