"""The token loop: the equation applied token by token. In float64 this is the truth the other implementations meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..chunk_table import Layout


def token_loop(
    step: Callable[..., Tensor],
    tokens: Sequence[Tensor | None],
    state: Tensor,
    layout: Layout,
    read: Callable[..., Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Run a family's step over every token.

    step: (state [S, H, K, V], *tokens at t without q) -> state.
    tokens: q and then what the step takes, each [B, T, H, ...] or None.
    state: [S, H, K, V].
    read: (state before, state after, *tokens at t) -> output [S, H, V]; None reads S_t^T q_t.
    Returns the output [B, T, H, V], the final state, the states at the layout's taps [s, P, H, K, V] (None without), and
    those at its read-out edits, before them, each [s, H, K, V].
    """
    outputs, finals = [], []
    found: dict[tuple[Any, ...], Tensor] = {}
    for sequences, span in layout.groups:
        own = [None if x is None else x[:, span] for x in tokens]
        output, final, seen = _run_group(step, own, state[sequences[0] : sequences[-1] + 1], layout, sequences, read)
        outputs.append(output)
        finals.append(final)
        found |= seen
    tapped = [found["tap", *place] for place in layout.taps]
    states = torch.stack(tapped, dim=1) if tapped else None
    return torch.cat(outputs, dim=1), torch.cat(finals), states, [found["readout", *place] for place, _ in layout.readouts]


def _run_group(
    step: Callable[..., Tensor],
    tokens: Sequence[Tensor | None],
    state: Tensor,
    layout: Layout,
    sequences: tuple[int, ...],
    read: Callable[..., Tensor] | None,
) -> tuple[Tensor, Tensor, dict[tuple[Any, ...], Tensor]]:
    """Sequences of one length, side by side."""
    q, *rest = tokens
    assert q is not None
    found: dict[tuple[Any, ...], Tensor] = {}
    outputs = []
    for t in range(q.shape[1]):
        here = (sequences, t)
        before, now = state, [None if x is None else x[:, t] for x in rest]
        state = step(before, *now)
        outputs.append((q[:, t, :, None] @ state).squeeze(-2) if read is None else read(before, state, q[:, t], *now))
        if any(place == here for place, _ in layout.readouts):
            found["readout", *here] = state
        for place, edit in layout.propagating:
            if place == here:
                state = edit.apply(state)
        if here in layout.taps:
            found["tap", *here] = state
    return torch.stack(outputs, dim=1), state, found
