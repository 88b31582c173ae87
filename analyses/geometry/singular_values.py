"""The singular values of states, or of transitions, as they go from token to token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.errors import unknown_name
from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ..models import Models, named_models, shows, states_of, transitions_of
from ..rows import OF_TOKENS, rows_of

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

Of = Literal["state", "transition"]
SHOWN = 8


@dataclass(frozen=True)
class SingularValues(Result, kind="singular_values"):
    """The singular values of S_t or A_t for each model, layer, head, sequence and token, largest first."""

    title: ClassVar[str] = "Singular values over time"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "position": "token position",
        "index": "rank of the singular value, from 1",
        "value": "the singular value",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head", "sequence")

    def widest(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose second singular value is largest beside its first, on the mean over tokens."""
        own = self.table[(self.table["model"] == model) & (self.table["index"] <= 2)]
        means = own.groupby(["layer", "head", "index"])["value"].mean().unstack()
        layer, head = (means.iloc[:, -1] / means.iloc[:, 0].where(means.iloc[:, 0] > 0)).fillna(0).idxmax()
        return int(layer), int(head)

    def summary(self) -> str:
        last = self.table[self.table["position"] == self.table["position"].max()]
        means = last.groupby(["model", "layer", "index"], sort=False)["value"].mean()
        lines = []
        for model, layer in dict.fromkeys(means.index.droplevel("index")):
            values = means.loc[(model, layer)].iloc[:3]
            lines.append(f"{model}, layer {layer}: after the last token {', '.join(f'{value:.3g}' for value in values)}, ...")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model that holds most beside its first direction: the largest values over time."""
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.widest(str(model))
            own = self.table[(self.table["model"] == model) & (self.table["layer"] == layer) & (self.table["head"] == head)]
            largest = own[own["index"] <= SHOWN].groupby("index")
            lines = [Line.of_rows(rows, "position", "value", str(index)) for index, rows in largest]
            title = f"{model}, layer {layer}, head {head}"
            panels.append(Panel(lines, "token position", f"singular value of the {self.about['of']}", title))
        return Figure(
            self.title,
            panels,
            alt=f"Singular values of the {self.about['of']} over time. {self.summary()}",
            caption=f"The {SHOWN} largest at most; means over sequences, with the least and the largest.",
        )


def singular_values(models: Models, tokens: Tensor, *, of: Of = "state") -> SingularValues:
    """The singular values of every head's state, or transition, after every token, in float64.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    of: "state" (a vector state, and all that a cell holds, has one: its norm) or "transition".

    Raises ValueError for a model that has none.
    """
    if of not in get_args(Of):
        raise unknown_name("of", str(of), get_args(Of))
    read = _of_states if of == "state" else _of_transitions
    tables = [
        _table(values, model=name, layer=layer)
        for name, model in named_models(models).items()
        for layer, values in read(model, tokens)
    ]
    about = {"of": of, "sequences": len(tokens), "tokens": tokens.shape[1]}
    return SingularValues(pd.concat(tables, ignore_index=True)[list(SingularValues.columns)], about)


def _of_states(model: HookedModel, tokens: Tensor) -> Iterator[tuple[int, Tensor]]:
    linear = shows(model, "attn.hook_write")
    for layer, states in states_of(model, tokens, Tap(every=1)):
        yield layer, torch.linalg.svdvals(states if linear and states.ndim == 5 else states.flatten(3)[..., None])


def _of_transitions(model: HookedModel, tokens: Tensor) -> Iterator[tuple[int, Tensor]]:
    for layer, transition in transitions_of(model, tokens):
        yield layer, transition.singular_values()


def _table(values: Tensor, **where: Any) -> pd.DataFrame:
    """Singular values [B, T, H, n] as rows, their rank counted from 1."""
    rows = rows_of({"value": values}, (*OF_TOKENS, "index"), **where)
    return rows.assign(index=rows["index"] + 1)
