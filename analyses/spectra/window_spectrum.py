"""The eigenvalues of products of transitions over windows of tokens: what a stretch of text does to a state."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import Models, length_of, named_models, transitions_of
from .results.window_spectrum import WindowSpectrum

RESOLVED = 1e-12  # of the product's norm: an eigenvalue below is rounding


def window_spectrum(models: Models, tokens: Tensor, window: int, *, jacobians: bool = False) -> WindowSpectrum:
    """The eigenvalues of the product of the transitions of each window, in float64.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    window: W, tokens of each; windows follow one another from the first token, and a shorter rest is left out.
    jacobians: take cells too, as in `transition_spectrum`.

    Scalar decays are kept as logarithms and the ranks of few tokens added, so that n W < K reflections are a problem of size
    n W; diagonal transitions multiply channel by channel, as logarithms. Raises ValueError for a window that is not from 1 to T,
    and for a model without a layer that has a linear transition.
    """
    length = length_of(tokens)
    if not 1 <= window <= length:
        raise ValueError(f"window {window} must be from 1 to the {length} tokens of a sequence")
    named, tables = named_models(models), []
    for name, model in named.items():
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians):
            for start in range(0, length - window + 1, window):
                cut = transition.each(partial(torch.narrow, dim=1, start=start, length=window))
                tables.append(_table(*product_eigenvalues(cut, axis=1)).assign(model=name, layer=layer, start=start))
    about = {"window": window, "tokens": length, "sequences": len(tokens), "models": list(named)}
    return WindowSpectrum(pd.concat(tables, ignore_index=True)[list(WindowSpectrum.columns)], about)


def product_eigenvalues(transitions: Transition, *, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """The eigenvalues of A_W ... A_1 as log-moduli, angles and whether they are resolved, each [..., K].

    axis: the batch axis of `transitions` that is time.
    """
    tokens = [_at(transitions, axis, t) for t in range(transitions.shape[axis])]
    if transitions.rank == 0:
        logs = torch.stack([token.log_gain for token in tokens]).sum(0).expand(tokens[0].shape[:-1])
        angle = torch.stack([token.turn for token in tokens]).sum(0).expand(tokens[0].shape[:-1])
        return logs, torch.atan2(angle.sin(), angle.cos()), torch.ones_like(logs, dtype=torch.bool)
    product, log_scale = _scaled(tokens[0])
    for token in tokens[1:]:
        product, own = _scaled(token.compose(product))
        log_scale = log_scale + own
    if product.log_decay is not None and product.log_decay.shape[-1] == 1:
        log_scale = log_scale + product.log_decay.real[..., 0]
        product = Transition(product.undecayed, product.left, product.reads)
    values = product.eigenvalues()
    resolved = values.abs() > RESOLVED * product.norm()[..., None]
    return values.abs().log() + log_scale[..., None], values.angle(), resolved


def _at(transitions: Transition, axis: int, t: int) -> Transition:
    return transitions.each(lambda part: part.select(axis, t))


def _scaled(product: Transition) -> tuple[Transition, Tensor]:
    """A product of full rank over its largest entry, lest it underflow, and the entry's logarithm; one of low rank as it is."""
    if product.rank < product.size:
        return product, torch.zeros_like(product.undecayed.real[..., 0])
    product = _dense(product)
    scale = product.left.abs().amax((-2, -1)).clamp(min=1e-300)
    return _divided(product, scale), scale.log()


def _dense(transition: Transition) -> Transition:
    """The same as 0 + A I^T, so that the next token is multiplied in; its scalar decay stays a logarithm."""
    decay = transition.log_decay
    kept = decay if decay is not None and decay.shape[-1] == 1 else None
    own = transition if kept is None else Transition(transition.undecayed, transition.left, transition.reads)
    matrix = own.dense()
    identity = torch.eye(own.size, dtype=matrix.dtype).expand(matrix.shape)
    return Transition(torch.zeros_like(matrix[..., 0]), matrix, identity, kept)


def _divided(transition: Transition, scale: Tensor) -> Transition:
    return Transition(transition.undecayed, transition.left / scale[..., None, None], transition.reads, transition.log_decay)


def _table(log_modulus: Tensor, angle: Tensor, resolved: Tensor) -> pd.DataFrame:
    """[B, H, K] each as rows; eigenvalues of one window that are equal to the bit are one row with a multiplicity."""
    sequence, head, _ = np.indices(log_modulus.shape)
    columns = {"sequence": sequence, "head": head, "log_modulus": log_modulus, "angle": angle, "resolved": resolved}
    rows = pd.DataFrame({name: np.asarray(value).ravel() for name, value in columns.items()})
    return rows.value_counts(sort=False, dropna=False).rename("multiplicity").reset_index()
