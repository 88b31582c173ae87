"""Linear attention and the delta rule with one decay for all channels (or none), on a GPU: three kernels forward, three backward.

The kernels read tokens where they lie, by the chunk table, and know nothing of taps and edits. Rows are cut at edits, which plain
torch applies between two launches, and taps are made from what the pass keeps: the state at a row's start and what the row wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..chunk_table import ChunkTable
from ..chunked.pass_rows import TapAt
from ..chunked.state_passing import taps_of
from ..precision import outside_autocast
from ..recurrence import Edit
from ..tap_states import requires_grad
from .launch_scalar import OfDecay, Products, Tokens, launch_backward, launch_forward, launch_gradients, launch_products


@dataclass(frozen=True)
class ScalarPlan:
    """What the pass over all rows is told about them.

    table: the rows. segments: (first row, row behind the last, edits behind that one as (sequences, edit, its index)).
    slots [J]: where a row's start is kept, or -1; kept: how many are. storage: the dtype of what the kernels multiply.
    """

    table: ChunkTable
    segments: tuple[tuple[int, int, tuple[tuple[tuple[int, ...], Edit, int], ...]], ...]
    slots: Tensor
    kept: int
    storage: torch.dtype

    def tokens(self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor | None, log_decay: Tensor | None) -> Tokens:
        q, k, v = (x.detach().to(self.storage).contiguous() for x in (q, k, v))
        beta, log_decay = (None if x is None else x.detach().float().contiguous() for x in (beta, log_decay))
        rows = torch.tensor(self.table.rows, dtype=torch.int32, device=q.device).transpose(0, 1).contiguous()
        return Tokens(q, k, v, beta, log_decay, rows, self.table.chunk)


class ScalarPass(torch.autograd.Function):
    """The pass over all rows. The equations stand in the kernels: forward `scalar_products`, `unit_lower_inverse` and
    `scalar_forward`; backward `scalar_backward`, `scalar_product_gradients` and `scalar_token_gradients`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: ScalarPlan,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor | None,
        log_decay: Tensor | None,
        state: Tensor,
        *edit_values: Tensor,
    ) -> tuple[Tensor, ...]:
        """Returns the output [B, T, H, V], the final state, and what the kept rows wrote [slots, S, H, M, V] and started from
        [slots, S, H, K, V].
        """
        tokens = plan.tokens(q, k, v, beta, log_decay)
        _, sequences, heads = tokens.lead
        columns = v.shape[-1]
        products = launch_products(tokens)
        output = tokens.empty(*q.shape[:3], columns, dtype=v.dtype)
        written = tokens.empty(plan.kept, sequences, heads, tokens.writes, columns)
        starts = tokens.empty(plan.kept, sequences, heads, q.shape[3], columns)
        unedited: list[Any] = [None] * len(edit_values)
        state = state.contiguous()
        for first, stop, edits in plan.segments:
            if stop > first:
                state = launch_forward(tokens, products, plan.slots, state, (output, written, starts), (first, stop))
            for changed, edit, index in edits:
                unedited[index] = state
                state = edit.apply_to(changed, state, edit_values[index]).contiguous()
        ctx.plan = plan
        ctx.dtypes = [None if x is None else x.dtype for x in (q, k, v, beta, log_decay, state)]
        ctx.set_materialize_grads(False)
        of_rows = (products.scores, products.inverse, products.reach, products.left)
        read = (tokens.q, tokens.k, tokens.v, tokens.beta, tokens.log_decay, tokens.table)
        ctx.save_for_backward(*read, *of_rows, written, starts, *edit_values, *unedited)
        return output, state, written, starts

    @staticmethod
    @torch.autograd.function.once_differentiable
    @outside_autocast
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: ScalarPlan = ctx.plan
        q, k, v, beta, log_decay, rows, *of_rows = ctx.saved_tensors
        scores, inverse, reach, left, written, starts, *rest = of_rows
        tokens = Tokens(q, k, v, beta, log_decay, rows, plan.table.chunk)
        products = Products(scores, inverse, reach, left)
        edit_values, unedited = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        d_output, d_state, d_written, d_starts = gradients
        wide = torch.zeros_like(tokens.v[..., 0, :]) if d_output is None else d_output.to(tokens.q.dtype).contiguous()
        d_state = torch.zeros_like(starts[0]) if d_state is None else d_state.contiguous()
        d_kept = None
        if d_written is not None or d_starts is not None:
            given = ((d_written, written), (d_starts, starts))
            d_kept = tuple(torch.zeros_like(like) if x is None else x.contiguous() for x, like in given)
        solved, behind = torch.empty_like(written), torch.empty_like(starts)
        d_edits: list[Any] = [None] * len(edit_values)
        for first, stop, edits in reversed(plan.segments):
            for changed, edit, index in reversed(edits):
                d_state, d_edits[index] = edit.pull_back(changed, d_state, unedited[index], edit_values[index])
            if stop > first:
                d_state = d_state.contiguous()
                d_state = launch_backward(tokens, products, wide, d_kept, d_state, (solved, behind), (first, stop))
        d_query, d_key, d_value, d_beta, of_c = launch_gradients(tokens, products, (written, starts), wide, (solved, behind))
        d_log_decay = None if of_c is None else _d_log_decay(plan.table, of_c)
        found = (d_query, d_key, d_value, d_beta, d_log_decay, d_state)
        return None, *(None if x is None else x.to(dtype) for x, dtype in zip(found, ctx.dtypes, strict=True)), *d_edits


def _d_log_decay(table: ChunkTable, of_c: OfDecay) -> Tensor:
    """[B, T, H]. c_i holds the log-decay of tokens up to i, c_C - c_i of those behind it, and c_C of all."""

    def of_tokens(of_writes: Tensor) -> Tensor:
        return of_writes.double().unflatten(-1, (table.chunk, -1)).sum(-1)

    up_to = of_c.reads_in_row.double() + of_c.reads.double() + of_tokens(of_c.writes)
    carried = of_tokens(of_c.carried)
    behind = torch.cat([torch.zeros_like(carried[..., :1]), carried[..., :-1].cumsum(-1)], dim=-1)
    return table.from_rows([up_to.flip(-1).cumsum(-1).flip(-1) + behind + of_c.through.double()[..., None]])


def run(
    tokens: Sequence[Tensor | None], state: Tensor, table: ChunkTable, storage: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Run the pass, as `pass_states` does. tokens: q, k, v and log_decay; or q, k [B, T, H, n, K], v, beta and log_decay."""
    q, k, v, *gates = tokens
    beta, log_decay = gates if len(gates) == 2 else (None, *gates)
    assert q is not None and k is not None and v is not None
    if k.ndim == 4:
        k, v = k[..., None, :], v[..., None, :]
    layout, taps = table.layout, taps_of(table)
    values = [edit.value for _, edit in layout.propagating]
    differentiable = torch.is_grad_enabled() and requires_grad(*tokens, state, *values)
    rows = range(table.depth) if differentiable else sorted({tap.row for tap in taps})
    slot_of = {row: slot for slot, row in enumerate(rows)}
    slots = torch.tensor([slot_of.get(row, -1) for row in range(table.depth)], dtype=torch.int32, device=q.device)
    plan = ScalarPlan(table, _segments(table), slots, len(slot_of), storage)
    places = _places_of(table, taps, slot_of, q.device)
    output, final, written, starts = ScalarPass.apply(plan, q, k, v, beta, log_decay, state, *values)  # type: ignore[no-untyped-call]
    states = _states_at(places, taps, table.chunk, k, log_decay, written, starts)
    asked = len(layout.taps)
    return output, final, torch.stack(states[:asked], dim=1) if asked else None, states[asked:]


def _segments(table: ChunkTable) -> tuple[tuple[int, int, tuple[tuple[tuple[int, ...], Edit, int], ...]], ...]:
    behind: dict[int, list[tuple[tuple[int, ...], Edit, int]]] = {table.depth: []}
    for index, (place, edit) in enumerate(table.layout.propagating):
        behind.setdefault(table.find(place)[0] + 1, []).append((place.sequences, edit, index))
    cuts = sorted(behind)
    return tuple((first, stop, tuple(behind[stop])) for first, stop in zip([0, *cuts[:-1]], cuts, strict=True))


def _places_of(table: ChunkTable, taps: Sequence[TapAt], slot_of: dict[int, int], device: torch.device) -> Tensor | None:
    """Of each tap in each of its sequences [E, 4]: its slot, sequence, the first token of its row, and its offset there. They go
    to the device before the pass, for which the copy would wait.
    """
    found = [(slot_of[tap.row], s, table.rows[s][tap.row][0], tap.offset) for tap in taps for s in tap.sequences]
    return torch.tensor(found, device=device) if found else None


def _states_at(
    places: Tensor | None,
    taps: Sequence[TapAt],
    chunk: int,
    k: Tensor,
    log_decay: Tensor | None,
    written: Tensor,
    starts: Tensor,
) -> list[Tensor]:
    """Of each tap [s, H, K, V]: e^{c_r} S + sum_{i <= r} e^{c_r - c_i} k_i v'_i^T, all of them in one product."""
    if places is None:
        return []
    slot, sequence, first, offset = places.unbind(1)
    kept = slot * starts.shape[1] + sequence
    token = torch.arange(chunk, device=k.device)
    read = token <= offset[:, None]
    at = torch.where(read, first[:, None] + token, 0).flatten()

    def of_rows(x: Tensor) -> Tensor:
        """[B, T, H, ...] at the taps' rows: [E, H, C, ...], zero behind the tap."""
        rows = x.flatten(0, 1).index_select(0, at).unflatten(0, read.shape)
        return torch.where(read.reshape(*read.shape, *[1] * (rows.ndim - 2)), rows, 0).transpose(1, 2)

    keys = of_rows(k).to(starts.dtype)
    state = starts.flatten(0, 1).index_select(0, kept)
    if log_decay is not None:
        c = of_rows(log_decay).double().cumsum(-1)
        keys = keys * (c[..., -1:] - c).to(keys.dtype).exp()[..., None, None]
        state = state * c[..., -1].to(state.dtype).exp()[..., None, None]
    state = state + keys.flatten(2, 3).mT @ written.flatten(0, 1).index_select(0, kept)
    return list(state.split([len(tap.sequences) for tap in taps]))
