"""Eigenvalues of the transitions a trained model uses, token by token."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import Models, named_models, transitions_of
from ..rows import OF_TOKENS, rows_of
from .results.transition_spectrum import TransitionSpectrum


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
