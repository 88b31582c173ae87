"""What a model's states give back of the pairs that it wrote: each value read by its own key, by how long ago it was written.

After the last token of a sequence, r_j = S_T^T k_j is compared with v_j, of any matrix state whose layer shows keys and values.
The scale of a state is its own (decays, normalisers), so the comparison is by angle: the cosine of r_j and v_j, and whether of
all values of the sequence v_j is the one nearest to r_j in angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..models import Models, hooks_of, named_models


@dataclass(frozen=True)
class RecallByAge(Result, kind="recall_by_age"):
    """The recall of each head by tokens since a pair was written."""

    title: ClassVar[str] = "What states give back"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "age": "tokens between the pair and the last token, from 0",
        "cosine": "mean over sequences of the cosine of the value read and the value written",
        "recalled": "share of the pairs whose value is the nearest, in angle, of all that the sequence wrote",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        lines = []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            heads = own.groupby("head")["recalled"].sum()
            latest = own[own["age"] == 0]["cosine"].mean()
            lines.append(
                f"{model}, layer {layer}: a state gives back {heads.mean():.1f} of {own['age'].max() + 1} tokens' values on "
                f"average, the best head {heads.max():.1f}; the last token's with a cosine of {latest:.2f}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Both by age: means over heads, with the range."""
        panels = []
        for column, label in (("cosine", "cosine"), ("recalled", "share recalled")):
            lines = [
                Line.of_rows(own, "age", column, f"{model}, layer {layer}")
                for (model, layer), own in self.table.groupby(["model", "layer"], sort=False)
            ]
            level = (1 / int(self.about["tokens"]), "chance") if column == "recalled" else (0.0, "unrelated")
            panels.append(Panel(lines, "tokens since it was written", label, level=level))
        return Figure(
            self.title,
            panels,
            alt=f"Recall of values by their own keys, by age. {self.summary()}",
            caption="Means over heads, with the least and the largest.",
        )


def recall_by_age(models: Models, tokens: Tensor) -> RecallByAge:
    """Read every value of a sequence from the state after its last token, by its own key.

    models: a model, ours or a loaded one, or several by name; layers without keys, values and a matrix state are left out.
    tokens: [B, T].

    Equal tokens may write equal values; a pair counts as recalled where its own value ties with the nearest. Raises ValueError
    for a model without such a layer.
    """
    tables = []
    for name, model in named_models(models).items():
        for layer, shown in hooks_of(model, tokens, ("k", "v", "state"), taps="last"):
            [axes] = [point.axes.split() for point in model.layer_points(layer) if point.name == "attn.hook_state"]
            if axes[3:4] != ["key"]:  # a state of slots or channels is not written along the keys
                continue
            cosine, recalled = _recall(shown["state"][:, 0], shown["k"], shown["v"])
            tables.append(_table(cosine, recalled, model=name, layer=layer))
    if not tables:
        raise ValueError("no layer of these models has a state that is written along its keys")
    about = {"sequences": len(tokens), "tokens": tokens.shape[1]}
    return RecallByAge(pd.concat(tables, ignore_index=True)[list(RecallByAge.columns)], about)


def _recall(state: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine and whether the pair is recalled, [B, H, T]. state [B, H, K, V']; k, v [B, T, H, (n,) K | V]."""
    if k.ndim == 5:
        pairs = [_recall(state, key, value) for key, value in zip(k.unbind(3), v.unbind(3), strict=True)]
        cosines, recalled = (torch.stack(part).mean(0) for part in zip(*pairs, strict=True))
        return cosines, recalled
    values = v.movedim(1, 2)
    read = k.movedim(1, 2).to(state.dtype) @ state[..., : v.shape[-1]]
    read = normalize(read.real if read.is_complex() else read, dim=-1)
    cosines = read @ normalize(values.to(read.dtype), dim=-1).mT
    own = cosines.diagonal(dim1=-2, dim2=-1)
    return own, (own >= cosines.amax(-1) - 1e-9).double()


def _table(cosine: Tensor, recalled: Tensor, **where: Any) -> pd.DataFrame:
    by_head, nearest = cosine.mean(0).numpy(), recalled.mean(0).numpy()
    head, position = np.indices(by_head.shape)
    age = by_head.shape[1] - 1 - position
    columns = {"head": head, "age": age, "cosine": by_head, "recalled": nearest}
    return pd.DataFrame({key: value.ravel() for key, value in columns.items()}).assign(**where)
