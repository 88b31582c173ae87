"""The sequential pass over rows, with read-out, taps and edits, and its adjoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import can_read_values
from ..precision import outside_autocast
from ..recurrence import Edit


class TapAt(NamedTuple):
    """A tap in a block of rows: after token `offset` of the row, or at the row's start (-1), for some sequences."""

    row: int
    sequences: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class PassPlan:
    """What happens to the states of one block of rows: the taps, and (row after which it falls, sequences, edit)."""

    taps: tuple[TapAt, ...]
    edits: tuple[tuple[int, tuple[int, ...], Edit], ...]


def pick(state: Tensor, sequences: Sequence[int]) -> Tensor:
    """Select some of the sequences of [S, ...]."""
    if len(sequences) == len(state):
        return state
    return state.index_select(0, torch.tensor(sequences, device=state.device))


def add_to(state: Tensor, sequences: Sequence[int], added: Tensor) -> Tensor:
    """Add `added` to some of the sequences of [S, ...]; the adjoint of `pick`."""
    if len(sequences) == len(state):
        return state + added
    return state.index_add(0, torch.tensor(sequences, device=state.device), added)


def run_rows(
    plan: PassPlan,
    query: Tensor,
    scores: Tensor,
    key: Tensor,
    key_weight: Tensor | None,
    value: Tensor,
    erase: Tensor | None,
    decay: Tensor | None,
    state: Tensor,
    *extras: Tensor,
    put: Callable[[int, Tensor], None],
    keep: bool = True,
) -> tuple[list[Tensor], Tensor, Tensor | None, Tensor | None, list[Tensor]]:
    """The pass itself. Shapes as in ChunkTerms; extras: the taps' weights, their reaches, the edits' values.

    put: takes each tap's index in the plan and its state as it arises. keep: whether v' and the starts are returned, which
        only the adjoint reads.
    Returns the output in pieces of rows (one, if `keep`), the final state, v', the starts, and the states before each edit, in
    the order of the plan, which in packed sequences is not the order of the rows.
    """
    weights, reaches, edit_values = _split_extras(plan, extras, key_weight is not None)
    heads = state.shape[:2]
    key_out = key if key_weight is None else key * key_weight
    flat_value, flat_erase, flat_key, flat_decay = (_flat(x) for x in (value, erase, key_out, decay))
    flat_query, flat_scores = _flat(query), _flat(scores)
    written, starts, outputs = [], [], []
    unedited: list[Any] = [None] * len(plan.edits)
    flat = state.flatten(0, 1)
    for j in range(len(value)):
        values = flat_value[j]
        if erase is not None:
            values = torch.baddbmm(values, flat_erase[j], flat, alpha=-1)
        if keep:
            written.append(values)
            starts.append(flat)
        else:
            outputs.append(torch.baddbmm(torch.bmm(flat_query[j], flat), flat_scores[j], values))
        for index, (row, sequences, _) in enumerate(plan.taps):
            if row == j:
                start = pick(flat.unflatten(0, heads), sequences)
                tap_key = pick(key[j], sequences) * weights[index]
                wrote = pick(values.unflatten(0, heads), sequences)
                put(index, _multiply_add(start if not reaches else start * reaches[index], tap_key.mT, wrote))
        flat = flat if decay is None else flat * flat_decay[j][..., None]
        flat = torch.baddbmm(flat, flat_key[j].mT, values)
        for index, (row, sequences, edit) in enumerate(plan.edits):
            if row == j:
                unedited[index] = flat.unflatten(0, heads)
                flat = edit.apply_to(sequences, unedited[index], edit_values[index]).flatten(0, 1)
    state = flat.unflatten(0, heads)
    if not keep:
        return [rows.unflatten(0, heads)[None] for rows in outputs], state, None, None, unedited
    all_written, all_starts = (torch.stack(rows).unflatten(1, heads) for rows in (written, starts))
    output = query @ all_starts + scores @ all_written
    return [output], state, all_written, all_starts, unedited


class PassRows(torch.autograd.Function):
    """The pass over J rows; the equations stand in `state_passing`.

    Backward, in reverse, with G the gradient of the state behind row j, dv' that of what the row wrote and dS that of the
    state at its start:

        dS = query^T do + reach dtap            dv' = scores^T do + tap_key dtap
        G <- the edits' adjoint of G            dv' <- dv' + key_out G
        G <- decay G + dS - erase^T dv'

    and then for all rows d value = dv', d erase = -dv' S^T, d key_out = v' G^T, d decay = sum_V S * G, d query = do S^T.
    What the adjoint reads is returned beside the results, so that a second derivative sees it too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(plan: PassPlan, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Arguments as of `run_rows`. Returns the output, the final state, the tapped states, v', the starts, and the states
        before each edit.
        """
        tapped: list[Any] = [None] * len(plan.taps)
        (output,), state, written, starts, unedited = run_rows(plan, *arguments, put=tapped.__setitem__)
        return output, state, *tapped, written, starts, *unedited

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.plan, query, scores, key, key_weight, _, erase, decay, _, *extras = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(query, scores, key, key_weight, erase, decay, *output[2 + len(ctx.plan.taps) :], *extras)

    @staticmethod
    @outside_autocast
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: PassPlan = ctx.plan
        query, scores, key, key_weight, erase, decay, written, starts, *rest = ctx.saved_tensors
        unedited, extras = rest[: len(plan.edits)], rest[len(plan.edits) :]
        weights, reaches, edit_values = _split_extras(plan, extras, key_weight is not None)
        d_output, d_state, *more = gradients
        d_tapped, (d_written, d_starts), d_unedited = (
            more[: len(plan.taps)],
            more[len(plan.taps) :][:2],
            more[len(plan.taps) + 2 :],
        )
        heads = starts.shape[1:3]

        d_query: Tensor | None = None
        d_scores: Tensor | None = None
        if d_output is not None:
            d_query, d_scores, of_starts, of_written = _read_out_adjoint(d_output, query, scores, starts, written)
            d_starts, d_written = _sum(of_starts, d_starts), _sum(of_written, d_written)
        d_starts = torch.zeros_like(starts) if d_starts is None else d_starts
        d_written = torch.zeros_like(written) if d_written is None else d_written
        d_state = torch.zeros_like(starts[0]) if d_state is None else d_state

        key_out = key if key_weight is None else key * key_weight
        flat_key, flat_erase, flat_decay = (_flat(x) for x in (key_out, erase, decay))
        d_values, behind = [], []
        d_weights: list[Any] = [None] * len(weights)
        d_reaches: list[Any] = [None] * len(reaches)
        d_edits: list[Any] = [None] * len(edit_values)
        d_tap_keys: list[tuple[int, tuple[int, ...], Tensor]] = []
        for j in reversed(range(len(key))):
            for index, (row, sequences, edit) in reversed(list(enumerate(plan.edits))):
                if row == j:
                    d_state, d_edits[index] = edit.pull_back(sequences, d_state, unedited[index], edit_values[index])
                    d_state = _sum(d_state, d_unedited[index])
            behind.append(d_state)
            d_value, d_start = d_written[j], d_starts[j]
            for index, (row, sequences, _) in enumerate(plan.taps):
                gradient = d_tapped[index]
                if row == j and gradient is not None:
                    own_key, start = pick(key[j], sequences), pick(starts[j], sequences)
                    d_tap_key = pick(written[j], sequences) @ gradient.mT
                    d_tap_keys.append((j, sequences, d_tap_key * weights[index]))
                    d_weights[index] = (d_tap_key * own_key).sum_to_size(weights[index].shape)
                    d_value = add_to(d_value, sequences, (own_key * weights[index]) @ gradient)
                    if reaches:
                        d_reaches[index] = (start * gradient).sum(-1, keepdim=True).sum_to_size(reaches[index].shape)
                        gradient = gradient * reaches[index]
                    d_start = add_to(d_start, sequences, gradient)
            flat = d_state.flatten(0, 1)
            flat_d_value = torch.baddbmm(d_value.flatten(0, 1), flat_key[j], flat)
            d_values.append(flat_d_value)
            d_start = d_start.flatten(0, 1)
            flat = d_start + flat if decay is None else torch.addcmul(d_start, flat, flat_decay[j][..., None])
            if erase is not None:
                flat = torch.baddbmm(flat, flat_erase[j].mT, flat_d_value, alpha=-1)
            d_state = flat.unflatten(0, heads)

        d_value, behind_rows = torch.stack(d_values[::-1]).unflatten(1, heads), torch.stack(behind[::-1])
        d_erase = None if erase is None else (d_value @ starts.mT).neg_()
        d_decay = None if decay is None else (starts * behind_rows).sum(-1).sum_to_size(decay.shape)
        d_key_out = written @ behind_rows.mT
        d_key_weight = None if key_weight is None else (d_key_out * key).sum_to_size(key_weight.shape)
        d_key = d_key_out if key_weight is None else d_key_out * key_weight
        d_key = _add_rows(d_key, d_tap_keys)
        return (
            *(None, d_query, d_scores, d_key, d_key_weight, d_value, d_erase, d_decay, d_state),
            *(*d_weights, *d_reaches, *d_edits),
        )


def _read_out_adjoint(d_output: Tensor, query: Tensor, scores: Tensor, starts: Tensor, written: Tensor) -> tuple[Tensor, ...]:
    """The gradients of o = query S + scores v' in query, scores, S and v'.

    Outputs that are read at the last token alone send no gradient to the others, which are left out of all four products.
    """
    reached = _tokens_reached(d_output)
    if reached is None:
        return d_output @ starts.mT, d_output @ written.mT, query.mT @ d_output, scores.mT @ d_output
    few, of_query, of_scores = (x.index_select(-2, reached) for x in (d_output, query, scores))
    d_query, d_scores = few.new_zeros(query.shape), few.new_zeros(scores.shape)
    d_query.index_copy_(-2, reached, few @ starts.mT)
    d_scores.index_copy_(-2, reached, few @ written.mT)
    return d_query, d_scores, of_query.mT @ few, of_scores.mT @ few


def _tokens_reached(gradient: Tensor) -> Tensor | None:
    """The places in a row at which a gradient [J, S, H, C, V] arrives in any of the rows; None where they are more than half.

    None too where values may not steer: under vmap, where a second derivative is wanted, which is of what is zero too, and on a
    device that would have to be waited for.
    """
    if gradient.device.type != "cpu" or torch.is_grad_enabled() or not can_read_values(gradient):
        return None
    most = gradient.shape[-2] // 2
    if int(gradient[0, 0, 0, :, 0].count_nonzero()) > most:  # one channel of one row says it of most
        return None
    reached = gradient.any(-1).flatten(0, -2).any(0).nonzero()[:, 0]
    return None if len(reached) > most else reached


def _split_extras(plan: PassPlan, extras: Sequence[Tensor], decays: bool) -> tuple[Sequence[Tensor], ...]:
    taps = len(plan.taps)
    reaches = taps if decays else 0
    return extras[:taps], extras[taps : taps + reaches], extras[taps + reaches :]


def _flat(rows: Tensor | None) -> Any:
    """[J, S, H, ...] as J rows [S * H, ...]: sequences and heads are one batch in the pass."""
    return None if rows is None else rows.flatten(1, 2).unbind(0)


def _multiply_add(added: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Added + left @ right over [S, H] matrices, in one product."""
    product = torch.baddbmm(added.flatten(0, 1), left.flatten(0, 1), right.flatten(0, 1))
    return product.unflatten(0, added.shape[:2])


def _sum(first: Tensor, second: Tensor | None) -> Tensor:
    return first if second is None else first + second


def _add_rows(rows: Tensor, added: Sequence[tuple[int, tuple[int, ...], Tensor]]) -> Tensor:
    """Rows [J, S, ...] with each (row, sequences, tensor) added."""
    if not added:
        return rows
    at = torch.tensor([row * rows.shape[1] + s for row, sequences, _ in added for s in sequences], device=rows.device)
    return rows.flatten(0, 1).index_add(0, at, torch.cat([tensor for *_, tensor in added])).view_as(rows)
