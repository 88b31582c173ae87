"""What each token looks at: softmax patterns, and the exact effective attention of linear layers, with what erasure takes away.

    o_i = sum_j M_ij v_j,    M = additive + erasure

The additive part is what M would be if transitions only decayed: q_i^T D_ij beta_j k_j with D_ij the product of the decays of
tokens j+1 to i. The rest is what the delta rule erases between the two. The reach of a token is the mean distance of what it
looks at, sum_j |M_ij| (i - j) / sum_j |M_ij|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.effective_attention import effective_attention
from ...kernels.precision import widened
from ...probe.hooks.names import hook_name
from ...probe.results.figure import Figure, Heatmap, Line, Panel
from ...probe.results.result import Result

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

EXACT, PATTERN = "attn.hook_effective_attention", "attn.hook_pattern"
WHOLE, ADDITIVE, ERASURE = "attention", "additive", "erasure"
MOST_TOKENS = 512


class TooLongError(ValueError):
    """A sequence whose T^2 weights are more than can be looked at."""


@dataclass(frozen=True)
class AttentionMap(Result, kind="attention_map"):
    """The weight of each source in each token's read-out, in one head of a layer, over one sequence."""

    title: ClassVar[str] = "What each token looks at"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "part": "attention (all of it), additive or erasure",
        "query": "position of the token that reads",
        "source": "position of the token that is read",
        "weight": "of the source's value in the read-out; a softmax weight is from 0 to 1, an effective one may be negative",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "part")

    def matrix(self, part: str = WHOLE) -> np.ndarray:
        """The weights [T, T] of a part, 0 after the query. Raises UnknownNameError for a part that is not told."""
        own = self.select(part=part).table
        found = np.zeros((self.about["tokens"], self.about["tokens"]))
        found[own["query"], own["source"]] = own["weight"]
        return found

    @property
    def reach(self) -> np.ndarray:
        """The mean distance in tokens [T] of what each token looks at; nan where it looks at nothing."""
        weights = np.abs(self.matrix())
        distance = np.arange(len(weights))[:, None] - np.arange(len(weights))
        total = weights.sum(1)
        nothing = np.full(len(weights), np.nan)
        found: np.ndarray = np.divide((weights * distance).sum(1), total, out=nothing, where=total > 0)
        return found

    def summary(self) -> str:
        """How far back the last tokens look, and how much of it is erasure."""
        reach = self.reach
        later = reach[len(reach) // 2 :]
        parts = [part for part in (ADDITIVE, ERASURE) if part in set(self.table["part"])]
        sizes = [f"{part} {np.abs(self.matrix(part)).sum() / max(np.abs(self.matrix()).sum(), 1e-300):.2f}" for part in parts]
        beside = f"; as shares of all weights, {' and '.join(sizes)}" if sizes else ""
        mean = "nothing" if np.isnan(later).all() else f"{np.nanmean(later):.2f} tokens back"
        return f"{self.about['where']} ({self.about['kind']}): the second half of the tokens looks {mean} on the mean{beside}"

    def specification(self) -> Figure:
        """A heat map a part, all on one scale where weights may be negative, and the reach of each token."""
        names = [str(text) for text in self.about["texts"]]
        signed = bool((self.table["weight"] < 0).any())
        top = float(self.table["weight"].abs().max()) or 1.0
        limits = (-top, top) if signed else (0.0, top)
        panels = [
            Panel([Heatmap(self.matrix(part), names, names, "weight", signed, limits)], "source", "query", str(part))
            for part in dict.fromkeys(self.table["part"])
        ]
        line = Line(np.arange(len(self.reach)), self.reach, "")
        panels.append(Panel([line], "token position", "mean distance looked back (tokens)", "reach"))
        return Figure(self.title, panels, alt=f"Attention weights. {self.summary()}", caption=self.summary())


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
    wanted = {place: hook_name(layer, place) for place in places[:1]}
    tokenwise = {own: hook_name(layer, f"attn.hook_{own}") for own in ("q", "k", "beta", "log_decay")}
    wanted |= {own: hook for own, hook in tokenwise.items() if hook in model.hook_dict}
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=list(wanted.values()), stop_at_layer=layer + 1)
    found = {own: cache[hook] for own, hook in wanted.items()}
    weights = found.pop(places[0])
    if not 0 <= head < weights.shape[1]:
        raise IndexError(f"head {head} is outside the {weights.shape[1]} heads of layer {layer}")
    whole = _real(weights[0, head])
    parts = {WHOLE: whole}
    added = _additive(found, head) if places[0] == EXACT and whole.ndim == 2 and weights.ndim == 4 else None
    if added is not None:
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
        "where": f"{name}, layer {layer}, head {head}",
        "kind": "softmax" if places[0] == PATTERN else "effective attention, exact",
    }
    return AttentionMap(pd.concat(tables, ignore_index=True).assign(**where)[list(AttentionMap.columns)], about)


def _additive(found: dict[str, Tensor], head: int) -> Tensor | None:
    """The part [T, T] without erasure of a delta rule with one key a token; None for what is no such."""
    if not {"q", "k", "beta"} <= found.keys() or found["k"].ndim != 4 or found["beta"].ndim != 3:
        return None
    q, k, beta = (widened(found[own]) for own in ("q", "k", "beta"))
    if not q.shape[2] == k.shape[2] == beta.shape[2]:
        return None
    log_decay = widened(found["log_decay"]) if "log_decay" in found else None
    return effective_attention(q, k * beta[..., None], log_decay=log_decay)[0, head]


def _real(weights: Tensor) -> Tensor:
    """[T, T] of one head's weights, which may have channels or keys behind, and may be complex."""
    real = weights.abs() if weights.is_complex() else weights
    real = widened(real)
    return real if real.ndim == 2 else real.abs().flatten(2).mean(-1)
