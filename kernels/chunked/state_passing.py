"""The pass of the state over rows of tokens, which all chunked matrix-state recurrences share.

A family turns a row of C tokens with M writes into `ChunkTerms`. Then, row after row,

    v'  = value - erase @ S                  the values written, given the state at the row's start   [M, V]
    o   = query @ S + scores @ v'            what the row reads                                       [C, V]
    S  <- decay * S + (key_weight * key)^T v'    the state at its end                                 [K, V]

and the state after the r-th token of a row is one masked product away,

    S_r = e^{c_r} S + sum_{i <= r} e^{c_r - c_i} k_i v'_i^T ,

with c the cumulative log-decay. So a tap costs a product, not a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from ..chunk_table import ChunkTable
from ..tap_states import TapStates, requires_grad
from .pass_rows import PassPlan, PassRows, TapAt, run_rows


@dataclass(frozen=True)
class ChunkTerms:
    """One block of rows, ready for the pass. J rows, S sequences, C tokens and M = C * n writes in a row.

    query [J, S, H, C, K]            q_i e^{c_i}
    scores [J, S, H, C, M]           q_i . k_j e^{c_i - c_j} where token i reads write j, else 0
    key [J, S, H, M, K]              k_j
    key_weight [J, S, H, M, 1|K]     e^{c_C - c_j}; None without decay
    value [J, S, H, M, V]            the values to write before the state erases from them
    erase [J, S, H, M, K]            what the state takes from them; None for a recurrence that only adds
    decay [J, S, H, 1|K]             e^{c_C}; None without decay
    cumulative [J, S, H, M, 1|K]     c_j at each write, in float64; None without decay
    """

    query: Tensor
    scores: Tensor
    key: Tensor
    key_weight: Tensor | None
    value: Tensor
    erase: Tensor | None
    decay: Tensor | None
    cumulative: Tensor | None

    def stored(self, dtype: torch.dtype, *, keep: bool) -> ChunkTerms:
        """The terms rounded to a storage dtype; in it if `keep`, else back in the dtype they are computed in."""

        def store(x: Tensor) -> Tensor:
            return x.to(dtype) if keep else x.to(dtype).to(x.dtype)

        return replace(
            self,
            query=store(self.query),
            scores=store(self.scores),
            key=store(self.key),
            value=store(self.value),
            erase=None if self.erase is None else store(self.erase),
        )


TermsOf = Callable[..., ChunkTerms]
Put = Callable[[int, Tensor], None]
PassBlock = Callable[[ChunkTerms, PassPlan, Tensor, Put], tuple[Sequence[Tensor], Tensor]]


@dataclass(frozen=True)
class Passing:
    """An implementation of the pass over a block of rows.

    tokens_in_a_block: prepared together. On a CPU enough to batch the products and little enough to stay in cache.
    storage: the dtype that terms are rounded to; None leaves them. keeps_storage: whether the pass takes them in it.
    """

    pass_block: PassBlock
    tokens_in_a_block: int
    storage: torch.dtype | None = None
    keeps_storage: bool = False


def pass_states(
    terms_of: TermsOf,
    tokens: Sequence[Tensor | None],
    state: Tensor,
    table: ChunkTable,
    how: Passing,
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Run a family over all rows.

    terms_of: from the row views of `tokens`, in their order, to ChunkTerms.
    tokens: each [B, T, H, ...], or None.
    state: [S, H, K, V], in the dtype to compute in.
    how: the implementation and its tier.
    Returns the output [B, T, H, V], the final state, the states at the layout's taps [s, P, H, K, V] (None without), and
    those at its read-out edits, before them, each [s, H, K, V].
    """
    full = max(1, how.tokens_in_a_block // table.chunk)
    size = max(1, -(-table.depth // max(1, round(table.depth / full))))  # blocks of about equal size, and no short one at the end
    rows = (repeat(None) if x is None else table.to_rows(x.to(state.dtype), size) for x in tokens)
    blocks = zip(*rows, strict=False)
    layout, wanted = table.layout, taps_of(table)
    values = [edit.value for _, edit in layout.propagating]
    states = TapStates(len(layout.taps), differentiable=torch.is_grad_enabled() and requires_grad(*tokens, state, *values))
    before_readouts: dict[int, Tensor] = {}

    def keep(here: Sequence[int], index: int, found: Tensor) -> None:
        if here[index] < len(layout.taps):
            states.put(here[index], found)
        else:
            before_readouts[here[index]] = found

    outputs: list[Tensor] = []
    for first, block in zip(range(0, table.depth, size), blocks, strict=False):
        terms = terms_of(*block)
        if how.storage is not None:
            terms = terms.stored(how.storage, keep=how.keeps_storage)
        here = [slot for slot, tap in enumerate(wanted) if first <= tap.row < first + size]
        taps = tuple(wanted[slot]._replace(row=wanted[slot].row - first) for slot in here)
        edits = tuple((table.find(at)[0] - first, at.sequences, edit) for at, edit in layout.propagating)
        plan = PassPlan(taps, tuple(edit for edit in edits if 0 <= edit[0] < size))
        output, state = how.pass_block(terms, plan, state, partial(keep, here))
        outputs += output
    return table.from_rows(outputs), state, states.together(), [before_readouts[slot] for slot in sorted(before_readouts)]


def taps_of(table: ChunkTable) -> list[TapAt]:
    """Tell where the states lie that are asked for: at the layout's taps, and then those before its read-out edits."""
    layout = table.layout
    taps = [TapAt(row, place.sequences, offset) for place in layout.taps for row, offset in [table.find_state(place)]]
    return taps + [TapAt(row, at.sequences, offset) for at, _ in layout.readouts for row, offset in [table.find(at)]]


def pass_block(terms: ChunkTerms, plan: PassPlan, state: Tensor, put: Put) -> tuple[Sequence[Tensor], Tensor]:
    """The output [J, S, H, C, V], in pieces of rows, and the state at the end [S, H, K, V]; each tap of the plan [s, H, K, V]
    goes to `put`.
    """
    arguments: tuple[Any, ...] = (
        terms.query,
        terms.scores,
        terms.key,
        terms.key_weight,
        terms.value,
        terms.erase,
        terms.decay,
        state,
        *tap_weights(terms, plan),
        *(edit.value for _, _, edit in plan.edits),
    )
    if not (torch.is_grad_enabled() and requires_grad(*arguments)):
        outputs, final, *_ = run_rows(plan, *arguments, put=put, keep=False)
        return outputs, final
    results = PassRows.apply(plan, *arguments)  # type: ignore[no-untyped-call]
    for index, tapped in enumerate(results[2 : 2 + len(plan.taps)]):
        put(index, tapped)
    return [results[0]], results[1]


def tap_weights(terms: ChunkTerms, plan: PassPlan) -> list[Tensor]:
    """For each tap e^{c_r - c_i} for the writes up to it, else 0 [s, H, M, 1|K]; then for each e^{c_r} [s, H, 1|K, 1].

    Without decay the weights are ones and zeros, and there is no e^{c_r}.
    """
    if not plan.taps:
        return []
    device, dtype = terms.key.device, terms.key.dtype
    writes_a_token = terms.key.shape[3] // terms.query.shape[3]
    last_write = torch.tensor([(offset + 1) * writes_a_token - 1 for *_, offset in plan.taps], device=device)
    read = torch.arange(terms.key.shape[3], device=device) <= last_write[:, None]
    if terms.cumulative is None:
        return list(read.to(dtype)[:, None, None, :, None].unbind(0))
    at = [[row * terms.key.shape[1] + s for s in sequences] for row, sequences, _ in plan.taps]
    c = terms.cumulative.flatten(0, 1)[torch.tensor(at, device=device)]
    last_write = last_write[:, None, None, None, None]
    index = last_write.clamp(min=0).expand(*c.shape[:3], 1, c.shape[4])
    reached = torch.where(last_write < 0, 0, c.gather(3, index))
    weights = torch.where(read[:, None, None, :, None], reached - c, -torch.inf).to(dtype).exp()
    return [*weights.unbind(0), *reached.to(dtype).exp().mT.unbind(0)]
