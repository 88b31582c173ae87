"""What every transition does to a state, in numbers: how far it stretches, shrinks, flips and turns, token by token."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import Models, named_models, transitions_of
from ..rows import rows_of
from .results.transition_measures import ROUNDING, TransitionMeasures


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
