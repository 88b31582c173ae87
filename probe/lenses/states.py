"""What a state says if it is read now: an earlier state in the place of the one that a token reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ...kernels.recurrence import Edit, Tap, TapRequest
from ..hooks.names import STATE_PLACE, hook_name, resolve_layer
from .fitters import divergence
from .results.states import StateReading
from .scores import word_of

if TYPE_CHECKING:
    from ..models.hooked import HookedModel

ROWS = 32  # states that are read in one run


@torch.no_grad()
def read_states(
    model: HookedModel,
    prompt: Any,
    *,
    layers: tuple[int, ...] | None = None,
    query: int = -1,
    positions: TapRequest = "all",
    target: int | None = None,
    by_head: bool = False,
) -> StateReading:
    """Let a position read older states of a layer, as read-out edits: S_s in the place of S_t, with the query of t.

    prompt: text, or tokens [1, T]. layers: all that have a state when None. query: the position t that reads. positions: those s
        after which states are taken, s <= t. target: a token id, the model's own answer at t when None. by_head: one head at a
        time, the others read their own.

    Raises ValueError for more than one sequence or no state, IndexError for a position behind the query, and what a recurrence
    raises that takes no read-out edits (a cell reads its own output).
    """
    tokens, _ = model.as_tokens(prompt)
    if tokens.ndim != 2 or len(tokens) != 1:
        raise ValueError(f"states are read in one sequence [1, T], got {tuple(tokens.shape)}")
    length = tokens.shape[1]
    at = Tap.of(query).resolve(length, "query")[0]
    taken = Tap.of(positions).resolve(length)
    taken = tuple(s for s in taken if s <= at) if positions == "all" else taken
    if not taken or taken[-1] > at:
        raise IndexError(f"position {taken[-1] if taken else at} lies behind the query at {at}, which has not read it")
    chosen = [layer for layer in range(model.layers) if model.has_state(layer)] if layers is None else list(layers)
    chosen = [resolve_layer(layer, model.layers) for layer in chosen]
    if not chosen or not all(model.has_state(layer) for layer in chosen):
        raise ValueError(f"no state to read in layers {chosen} of this model (its mixers: {model.mixer_kinds})")
    names = {layer: hook_name(layer, STATE_PLACE) for layer in chosen}
    logits, cache = model.run_with_cache(tokens, names_filter=list(names.values()), taps=taken)
    own = logits[0, at].double().log_softmax(-1)
    asked = int(own.argmax()) if target is None else target
    rows = []
    for layer, name in names.items():
        states = cache[name][0]
        for head in range(states.shape[1]) if by_head else (-1,):
            answers = _answers(model, tokens, name, states, at, head)
            away = divergence(own, answers)
            for number, position in enumerate(taken):
                says = word_of(model, int(answers[number].argmax()))
                about = (layer, head, position, at, word_of(model, asked))
                rows.append((*about, float(answers[number, asked]), float(own[asked]), float(away[number]), says))
    return StateReading(pd.DataFrame(rows, columns=list(StateReading.columns)), {"tokens": length})


def _answers(model: HookedModel, tokens: Tensor, name: str, states: Tensor, at: int, head: int) -> Tensor:
    """The log-probabilities [P, vocabulary] at a position that reads each of states [P, H, ...]."""
    found = []
    for part in states.split(ROWS):
        value, heads = (part, None) if head < 0 else (part[:, head : head + 1], (head,))
        edit = Edit(at, "set", value, heads=heads, verb="readout")
        logits = model.run_with_edits(tokens.expand(len(part), -1), {name: [edit]})
        found.append(logits[:, at].double().log_softmax(-1))
    return torch.cat(found)
