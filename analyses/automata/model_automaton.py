"""The automaton that the states of one layer of a model amount to, beside that of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.tasks.base import Task, generator_for
from ..models import states_of
from .automaton import Automaton
from .recovered_automaton import recovered_automaton
from .results.recovered_automaton import RecoveredAutomaton

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

PIECES = 8  # that a sequence is cut into
DRAWN = 48  # sequences of a task


def automaton_of(task: Task) -> Automaton | None:
    """The automaton whose state is the target after each token, where a task is the word problem of one."""
    table = task.automaton_table
    return None if table is None else Automaton(table.numpy(), np.arange(len(table)), 0)


def sequences_from(tokens: Tensor, task: Task | None, *, seed: int = 0) -> Tensor:
    """Sequences [B, T] to look for an automaton on, from one [T]: with a task as many as it draws of that length, behind the one
    that is given; without one the pieces that it is cut into, each of which a model reads from an empty state.

    Raises ValueError for a sequence too short to be cut into 8 pieces of two tokens or more.
    """
    if task is not None and not task.inputs:
        return torch.cat([tokens[None], task.batch(DRAWN, len(tokens), "test", generator_for(seed, 6)).tokens])
    length = len(tokens) // PIECES
    if length < 2:
        raise ValueError(f"{len(tokens)} tokens are too few for {PIECES} pieces that tell of an automaton; type a longer text")
    return tokens[: PIECES * length].view(PIECES, length)


def model_automaton(
    model: HookedModel, tokens: Tensor, layer: int, *, task: Task | None = None, most: int = 8, seed: int = 0
) -> RecoveredAutomaton:
    """The smallest automaton that explains the states of a layer, all heads together, and what the model answers after them.

    tokens: [T], one sequence; see `sequences_from`. task: that the model was trained on, where that is known. most: states at
    most. Raises ValueError for a layer without a state, and as `sequences_from` and `recovered_automaton` do.
    """
    return automaton_behind(model, sequences_from(tokens, task, seed=seed), layer, task=task, most=most, seed=seed)


def automaton_behind(
    model: HookedModel, tokens: Tensor, layer: int, *, task: Task | None = None, most: int = 8, seed: int = 0
) -> RecoveredAutomaton:
    """The same on sequences [B, T] that are given."""
    found = dict(states_of(model, tokens, Tap(every=1)))
    if layer not in found:
        raise ValueError(f"layer {layer} has no state; of these there are {', '.join(map(str, found))}")
    with torch.no_grad():
        answers = model(tokens).argmax(-1).cpu()
    true = None if task is None else automaton_of(task)
    return recovered_automaton(found[layer], tokens, answers, most=most, true=true, seed=seed)
