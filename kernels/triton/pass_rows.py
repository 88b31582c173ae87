"""The pass over rows on a GPU: what `chunked.state_passing.pass_block` does, with the loop over rows in one kernel.

The kernel knows nothing of taps and edits. Rows are cut at edits, which plain torch applies between two launches, and a tap is
made from what the kernel keeps: the state at its row's start and what the row wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..chunked.pass_rows import PassPlan, pick
from ..chunked.state_passing import ChunkTerms, Passing, Put, tap_weights
from ..precision import outside_autocast
from ..tap_states import requires_grad
from .launch import launch_adjoint, launch_pass


class TritonPass(torch.autograd.Function):
    """The pass without taps and edits. The adjoint finds d value, the gradient G behind each row and d state; the rest are
    products over all rows: d query = do S^T, d scores = do v'^T, d erase = -dv' S^T, d key = v' G^T, d decay = sum_V S * G.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        """Arguments of `launch_pass`. Returns the output, the final state, v' and the kept states."""
        output, written, kept, final = launch_pass(*arguments)
        return output, final, written, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        query, scores, key, value, erase, decay, *_ = inputs
        ctx.set_materialize_grads(False)
        ctx.value_dtype = value.dtype
        ctx.save_for_backward(query, scores, key, erase, decay, *output[2:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    @outside_autocast
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        query, scores, key, erase, decay, written, starts = ctx.saved_tensors
        d_output, d_final, d_written, d_starts = gradients
        d_output = written.new_zeros(*query.shape[:-1], written.shape[-1]) if d_output is None else d_output
        d_final = torch.zeros_like(starts[0]) if d_final is None else d_final
        d_value, behind, d_state = launch_adjoint(query, scores, key, erase, decay, d_output, d_written, d_starts, d_final)
        return (
            (d_output @ starts.mT).to(query.dtype),
            (d_output @ written.mT).to(scores.dtype),
            (written @ behind.mT).to(key.dtype),
            d_value.to(ctx.value_dtype),
            None if erase is None else -(d_value @ starts.mT).to(erase.dtype),
            (starts * behind).sum(-1),
            d_state,
            None,
            None,
        )


@dataclass(frozen=True)
class Segment:
    """Rows first to stop, with no edit between them."""

    first: int
    stop: int


def pass_block(terms: ChunkTerms, plan: PassPlan, state: Tensor, put: Put) -> tuple[Sequence[Tensor], Tensor]:
    """The output [J, S, H, C, V], in pieces of rows, and the state at the end [S, H, K, V]; each tap of the plan [s, H, K, V]
    goes to `put`.
    """
    rows = len(terms.query)
    assert terms.key_weight is not None and terms.decay is not None  # families of one decay have a pass of their own
    key = terms.key * terms.key_weight.to(terms.key.dtype)
    weights = tap_weights(terms, plan)
    given = (terms.query, terms.scores, key, terms.value, terms.erase, terms.decay)
    outputs = []
    cuts = sorted({row + 1 for row, *_ in plan.edits} | {rows})
    for segment in map(Segment, [0, *cuts[:-1]], cuts):
        here = slice(segment.first, segment.stop)
        taps = [(index, tap) for index, tap in enumerate(plan.taps) if segment.first <= tap.row < segment.stop]
        # The state alone may require one: behind an edit whose value does.
        needs_gradient = torch.is_grad_enabled() and requires_grad(*given, state)
        slot_of = _slots(segment, [tap.row for _, tap in taps], everything=needs_gradient)
        slots = torch.tensor([slot_of.get(row, -1) for row in range(segment.first, segment.stop)], dtype=torch.int32)
        own = (None if x is None else x[here] for x in given)
        output, state, written, kept = TritonPass.apply(*own, state, slots.to(state.device), len(slot_of))  # type: ignore[no-untyped-call]
        outputs.append(output)
        for index, (row, sequences, _) in taps:
            start = pick(kept[slot_of[row]], sequences)
            reached = start * weights[len(plan.taps) + index]
            tap_key = pick(terms.key[row], sequences) * weights[index]
            put(index, reached + tap_key.float().mT @ pick(written[row - segment.first], sequences))
        for row, sequences, edit in plan.edits:
            if row + 1 == segment.stop:
                state = edit.apply_to(sequences, state)
    return outputs, state


def _slots(segment: Segment, tapped_rows: Sequence[int], *, everything: bool) -> dict[int, int]:
    """Where the starting state of each row is kept, of the rows where it is: all for a backward pass, else those of taps."""
    rows = range(segment.first, segment.stop) if everything else sorted(set(tapped_rows))
    return {row: slot for slot, row in enumerate(rows)}


PASSING = Passing(pass_block, tokens_in_a_block=1 << 62, keeps_storage=True)
