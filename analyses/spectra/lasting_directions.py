"""Which directions of a state last over a stretch of tokens, and as which they come out: the singular vectors of a product.

For P = A_{s+W-1} ... A_s, the product of the transitions of W tokens,

    P = sum_i sigma_i u_i v_i^*,    l_i = ln sigma_i / W

what lies along v_i before token s lies along u_i after the last, sigma_i times as large. The l_i are the finite-time exponents of
this stretch, fastest first; as W grows they come to the Lyapunov exponents (Oseledets 1968), which `memory_horizon` gives of all
directions, whatever float64 makes of the smaller singular values.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import Models, length_of, named_models, transitions_of
from .memory_horizon import half_life
from .results.lasting_directions import AFTER, BEFORE, LastingDirections

Directions = tuple[Tensor, Tensor, Tensor]


def lasting_directions(
    models: Models, tokens: Tensor, *, start: int = 0, window: int | None = None, count: int = 4, jacobians: bool = False
) -> LastingDirections:
    """The directions of each head's state that last longest over a stretch of tokens, before it and after it, in float64.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    start: s, the first token of the stretch. window: W, its tokens; None means all that follow.
    count: directions of each head at most, those of the largest exponents. Equal exponents share a span, of which these are one
        basis.
    jacobians: take cells too, with the Jacobian d state_t / d state_{t-1} of each token in place of a transition.

    A direction that the stretch erases, or that float64 does not tell from one that it does, has an exponent of -inf, and what it
    comes out as means nothing. Of a diagonal transition they are the channels, and only what is erased has -inf.

    Raises ValueError for a stretch that is not within the sequence, for a count below 1, and for a model without a layer that has
    a linear transition.
    """
    length = length_of(tokens)
    window = length - start if window is None else window
    if not 0 <= start < start + window <= length:
        raise ValueError(f"{window} tokens from token {start} on must lie within the {length} tokens of a sequence")
    if count < 1:
        raise ValueError(f"count={count} must be at least 1")
    named, tables = named_models(models), []
    for name, model in named.items():
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians):
            stretch = transition.each(partial(torch.narrow, dim=1, start=start, length=window))
            tables.append(_table(*directions_of(stretch, axis=1), window, count).assign(model=name, layer=layer))
    about = {"start": start, "window": window, "sequences": len(tokens), "models": list(named)}
    return LastingDirections(pd.concat(tables, ignore_index=True)[list(LastingDirections.columns)], about)


def directions_of(transitions: Transition, *, axis: int) -> Directions:
    """ln sigma [..., K], descending, u and v [..., K, K] with one direction a column, of A_W ... A_1; -inf where not resolved.

    axis: the batch axis of `transitions` that is time.
    """
    tokens = [transitions.each(partial(torch.select, dim=axis, index=t)) for t in range(transitions.shape[axis])]
    if transitions.rank == 0:
        return _of_channels(tokens)
    product, log_scale = tokens[0].dense(), torch.zeros_like(tokens[0].undecayed.real[..., 0])
    for token in tokens[1:]:
        scale = product.abs().amax((-2, -1)).clamp(min=1e-300)
        product, log_scale = token.matmat(product / scale[..., None, None]), log_scale + scale.log()
    u, sigma, v = torch.linalg.svd(product)
    resolved = sigma > transitions.size * torch.finfo(sigma.dtype).eps * sigma[..., :1]
    logs = sigma.log().masked_fill(~resolved, -torch.inf) + log_scale[..., None]
    return logs, u, v.mH


def _of_channels(tokens: list[Transition]) -> Directions:
    """Of diagonal transitions, whose decays stay logarithms: the channels, the one that lasts longest first."""
    lead, size = tokens[0].shape[:-2], tokens[0].size
    gains, turns = (
        torch.stack([part.expand(*lead, size) for part in parts]).sum(0)
        for parts in ([token.log_gain for token in tokens], [token.turn for token in tokens])
    )
    logs, order = gains.sort(dim=-1, descending=True, stable=True)
    v = torch.eye(size, dtype=tokens[0].dtype).expand(*lead, size, size).gather(-1, order[..., None, :].expand(*lead, size, size))
    phases = torch.exp(1j * turns.gather(-1, order)) if v.is_complex() else turns.gather(-1, order).cos()
    return logs, v * phases[..., None, :].to(v.dtype), v


def _table(logs: Tensor, u: Tensor, v: Tensor, window: int, count: int) -> pd.DataFrame:
    """The first directions of [B, H] products as rows, one for each channel of each, before and after."""
    count = min(count, logs.shape[-1])
    tables = []
    for side, directions in ((BEFORE, v), (AFTER, u)):
        shown = directions[..., :count].mT
        sequence, head, index, channel = np.indices(shown.shape)
        exponent = np.broadcast_to(logs[..., :count, None].numpy() / window, shown.shape)
        imaginary = shown.imag if shown.is_complex() else torch.zeros_like(shown)
        columns = {"sequence": sequence, "head": head, "index": index + 1, "exponent": exponent, "channel": channel}
        columns |= {"real": shown.real.numpy(), "imaginary": imaginary.numpy()}
        rows = pd.DataFrame({name: value.ravel() for name, value in columns.items()}).assign(side=side)
        tables.append(rows)
    found = pd.concat(tables, ignore_index=True)
    return found.assign(half_life=found["exponent"].map(half_life))
