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

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..models import Models, additive_of, mixing_of, named_models
from ..rows import rows_of


@dataclass(frozen=True)
class AttentionMeasures(Result, kind="attention_measures"):
    """The measures of each row of each head's mixing matrix."""

    title: ClassVar[str] = "How attention spreads"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer; of a vector state, the mean over its channels",
        "sequence": "sequence of the batch",
        "position": "token that attends",
        "entropy": "of the shares of the weights, in nats",
        "attended": "e to the entropy: tokens attended to",
        "concentration": "largest share",
        "reach": "mean distance of what is attended to, in tokens",
        "negative": "share of the weights, by size, that are below 0; nan where they are complex",
        "erased": "size of what erasure changes, beside the row without it; nan where nothing erases",
        "own": "size of the weight of the token itself, which is the modulus of an eigenvalue of the causal matrix",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def spectral_gap(self) -> pd.DataFrame:
        """For each model, layer, head and sequence: 1 - max_{t > 0} |M_tt|, a gap where the matrix is stochastic."""
        later = self.table[self.table["position"] > 0]
        places = ["model", "layer", "head", "sequence"]
        return (1 - later.groupby(places, sort=False)["own"].max()).rename("gap").reset_index()

    def summary(self) -> str:
        lines = []
        gaps = self.spectral_gap()
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            last = own[own["position"] == own["position"].max()]
            gap = gaps[(gaps["model"] == model) & (gaps["layer"] == layer)]["gap"]
            stochastic = f"{model}, layer {layer}" in self.about["softmax"]
            said = f"; spectral gap {gap.min():.3f} to {gap.max():.3f}" if stochastic and len(gap) else ""
            if own["negative"].notna().any():
                said = f"; {own['negative'].mean():.1%} of it is negative{said}"
            if own["erased"].notna().any():
                said += f"; erasure changes the last row by {last['erased'].mean():.0%}"
            most, back = last["concentration"].mean(), last["reach"].mean()
            lines.append(
                f"{model}, layer {layer}: the last token attends to {last['attended'].mean():.1f} tokens, {back:.1f} back on "
                f"average, and to one with {most:.0%} of the weight{said}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Tokens attended to, concentration and reach by position: means over heads and sequences, with the range."""
        wanted = {"attended": "tokens attended to", "concentration": "largest share", "reach": "mean distance (tokens)"}
        panels = []
        for column, label in wanted.items():
            lines = [
                Line.of_rows(own, "position", column, f"{model}, layer {layer}")
                for (model, layer), own in self.table.groupby(["model", "layer"], sort=False)
            ]
            panels.append(Panel(lines, "token position", label, label.capitalize()))
        return Figure(
            self.title,
            panels,
            columns=3,
            alt=f"How attention spreads by position. {self.summary()}",
            caption="Means over heads and sequences, with the least and the largest.",
        )


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
