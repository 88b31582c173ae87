"""The singular values of states, or of transitions, as they go from token to token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.errors import unknown_name
from ..models import Models, named_models, shows, states_of, transitions_of
from ..rows import OF_TOKENS, rows_of
from .results.singular_values import SingularValues

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

Of = Literal["state", "transition"]


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
