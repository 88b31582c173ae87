"""How attention spreads: softmax patterns, and the effective attention of linear recurrences, measured alike.

Row t of a causal mixing matrix M says what the token t takes from each before it. With p_s = |M_ts| / sum_s |M_ts|,

    entropy            H = -sum_s p_s log p_s, in nats; e^H is the number of tokens attended to
    concentration      max_s p_s
    reach              sum_s p_s (t - s), in tokens
    negative           the share of |M_ts| whose weight is below 0; softmax has none

    erased             sum_s |M_ts - N_ts| / sum_s |N_ts|, N the matrix if tokens only wrote and decayed: what later tokens took
                       away or wrote over

M is lower triangular, so its eigenvalues are its diagonal. A softmax pattern is a stochastic matrix whose eigenvalue 1 is that of
the first token, and its spectral gap is 1 - max_{t > 0} M_tt: the slowest rate at which repeated attention moves all tokens to
what the first one holds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..models import Models, additive_of, mixing_of, named_models
from ..rows import rows_of
from .results.attention_measures import AttentionMeasures


def attention_measures(models: Models, tokens: Tensor) -> AttentionMeasures:
    """Measure the softmax pattern, or the exact effective attention, of every head.

    models: a model, ours or a loaded one, or several by name; layers that show neither are left out. tokens: [B, T].

    Rows whose weights are all 0 have nan. Memory is that of the matrices, O(B H T^2). Raises ValueError for a model that shows
    no mixing matrix.
    """
    tables, softmax = [], []
    for name, model in named_models(models).items():
        additive = dict(additive_of(model, tokens))
        for layer, mixing, is_pattern in mixing_of(model, tokens):
            if is_pattern:
                softmax.append(f"{name}, layer {layer}")
            tables.append(_table(measures_of(mixing, additive.get(layer)), model=name, layer=layer))
    about = {"sequences": len(tokens), "tokens": tokens.shape[1], "softmax": softmax}
    return AttentionMeasures(pd.concat(tables, ignore_index=True)[list(AttentionMeasures.columns)], about)


def measures_of(mixing: Tensor, additive: Tensor | None = None) -> dict[str, Tensor]:
    """The measures [..., T] of the rows of matrices [..., T, T, n], by the names of the columns of `AttentionMeasures`.

    additive: the matrices without erasure.
    """
    size = mixing.abs()
    total = size.sum((-1, -2))
    some = total > 0
    parts = size / torch.where(some, total, 1.0)[..., None, None]
    shares = parts.sum(-1)
    position = torch.arange(mixing.shape[-2], dtype=shares.dtype)
    entropy = torch.special.entr(shares).sum(-1)
    measured = {
        "entropy": entropy,
        "attended": entropy.exp(),
        "concentration": shares.amax(-1),
        "reach": (shares * (position[:, None] - position)).sum(-1),
        "negative": torch.full_like(entropy, torch.nan) if mixing.is_complex() else (parts * (mixing < 0)).sum((-1, -2)),
    }
    if additive is None:
        measured["erased"] = torch.full_like(entropy, torch.nan)
    else:
        measured["erased"] = (mixing - additive).abs().sum((-1, -2)) / additive.abs().sum((-1, -2))
    own = size.diagonal(dim1=-3, dim2=-2).sum(-2)
    return {name: value.masked_fill(~some, torch.nan) for name, value in measured.items()} | {"own": own}


def _table(measured: dict[str, Tensor], **where: Any) -> pd.DataFrame:
    by_head = {name: value.nanmean(2) for name, value in measured.items()}
    return rows_of(by_head, ("sequence", "head", "position"), **where)
