"""What each token looks at: softmax patterns, and the exact effective attention of linear layers, with what erasure takes away.

    o_i = sum_j M_ij v_j,    M = additive + erasure

The additive part is what M would be if transitions only decayed: q_i^T D_ij beta_j k_j with D_ij the product of the decays of
tokens j+1 to i. The rest is what the delta rule erases between the two. The reach of a token is the mean distance of what it
looks at, sum_j |M_ij| (i - j) / sum_j |M_ij|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.precision import widened
from ...probe.hooks.names import hook_name
from ..models import additive_of
from .results.attention_map import ADDITIVE, ERASURE, WHOLE, AttentionMap, place_of

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

EXACT, PATTERN = "attn.hook_effective_attention", "attn.hook_pattern"
MOST_TOKENS = 512


class TooLongError(ValueError):
    """A sequence whose T^2 weights are more than can be looked at."""


def attention_map(
    model: HookedModel, tokens: Tensor, layer: int, head: int, *, name: str = "model", texts: list[str] | None = None
) -> AttentionMap:
    """The attention of one head over one sequence [T]: the softmax pattern, or the exact effective attention.

    texts: the T tokens as text; their positions otherwise. Parts are told where the layer has one key a token. Of a vector state
    weights are the mean of their moduli over channels, and so they are of complex ones.

    Raises ValueError for a layer that shows neither, TooLongError for more than 512 tokens, IndexError for a head it lacks.
    """
    if len(tokens) > MOST_TOKENS:
        raise TooLongError(f"{len(tokens)} tokens look at each other in {len(tokens) ** 2:,} ways; take {MOST_TOKENS} at most")
    places = [place for place in (EXACT, PATTERN) if hook_name(layer, place) in model.hook_dict]
    if not places:
        raise ValueError(f"layer {layer} shows no attention (its mixer: {model.mixer(layer).title})")
    shown = hook_name(layer, places[0])
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=[shown], stop_at_layer=layer + 1)
    weights = cache[shown]
    if not 0 <= head < weights.shape[1]:
        raise IndexError(f"head {head} is outside the {weights.shape[1]} heads of layer {layer}")
    whole = _real(weights[0, head])
    parts = {WHOLE: whole}
    for _, additive in additive_of(model, tokens[None], [layer]):
        if weights.ndim == 4 and additive.shape[-1] == 1:  # one key a token
            added = additive[0, head, 0, ..., 0]
            parts |= {ADDITIVE: added, ERASURE: whole - added}
    query, source = np.tril_indices(len(tokens))
    tables = [
        pd.DataFrame({"part": part, "query": query, "source": source, "weight": value.double().numpy()[query, source]})
        for part, value in parts.items()
    ]
    where = {"model": name, "layer": layer, "head": head}
    about: dict[str, Any] = {
        "tokens": len(tokens),
        "texts": [str(position) for position in range(len(tokens))] if texts is None else list(texts),
        "kinds": {place_of(name, layer, head): "softmax" if places[0] == PATTERN else "effective attention, exact"},
    }
    return AttentionMap(pd.concat(tables, ignore_index=True).assign(**where)[list(AttentionMap.columns)], about)


def _real(weights: Tensor) -> Tensor:
    """[T, T] of one head's weights, which may have channels or keys behind, and may be complex."""
    real = weights.abs() if weights.is_complex() else weights
    real = widened(real)
    return real if real.ndim == 2 else real.abs().flatten(2).mean(-1)
