"""The frame around every matrix-state recurrence: layout, choice of implementation, taps, read-out edits, result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .chunk_table import ChunkTable, Layout, Place
from .chunked.state_passing import Passing, TermsOf, pass_block, pass_states
from .precision import working_dtype
from .recurrence import IMPLEMENTATIONS, Edit, Precision, RecurrenceOutput, TapRequest
from .reference.token_loop import token_loop
from .triton.configurations import holds, tokens_a_row

ImplementationRequest = Literal["auto", "reference", "chunked", "triton"]
CHUNKED = Passing(pass_block, tokens_in_a_block=512)
FAST_STORAGE = torch.bfloat16


@dataclass(frozen=True)
class Family:
    """One recurrence in its implementations.

    step: (state, *tokens at t without q) -> state, the equation itself; the truth.
    terms: (*rows of tokens) -> ChunkTerms.
    solves: whether `terms` inverts a triangular matrix, and takes the function that does so as `inverse_of`.
    one_decay: whether the decay is one number for all channels (or none), which has Triton kernels of its own. The `terms` of
        others take the function that multiplies vectors under their decays as `gram_of`.
    writes_a_key: what a token writes for each of its keys.
    read: (state before the token, state after it, q at t, *tokens at t) -> output; None for o_t = S_t^T q_t.
    """

    name: str
    step: Callable[..., Tensor]
    terms: TermsOf
    solves: bool = False
    one_decay: bool = False
    writes_a_key: int = 1
    read: Callable[..., Tensor] | None = None


def run(
    family: Family,
    tokens: Sequence[Tensor | None],
    *,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    taps: TapRequest | None,
    edits: Sequence[Edit] | None,
    implementation: ImplementationRequest,
    precision: Precision,
    chunk: int,
) -> RecurrenceOutput:
    """Run a family. tokens: q [B, T, H, K], k, v [..., V] and what else the family takes, checked by the caller."""
    q, _, v, *_ = (x for x in tokens if x is not None)
    batch, length, heads, key_size = q.shape
    layout = Layout.of(batch, length, cu_seqlens, taps, edits)
    if family.read is not None and layout.readouts:
        raise ValueError(f"{family.name} reads the state before it writes; a read-out edit has no state after a token to change")
    shape = (len(layout.starts), heads, key_size, v.shape[-1])
    working = working_dtype(q.dtype)
    if initial_state is None:
        state = q.new_zeros(shape, dtype=working)
    else:
        check_shapes({"S": shape[0], "H": heads, "K": key_size, "V": shape[3]}, initial_state=(initial_state, "S H K V"))
        check_finite(initial_state=initial_state)
        state = initial_state.to(working)
    if precision not in get_args(Precision):
        raise ValueError(f"precision={precision!r} is not known; one of {', '.join(get_args(Precision))}")
    writes_a_token = family.writes_a_key * (tokens[1].shape[3] if tokens[1] is not None and tokens[1].ndim == 5 else 1)
    ran = choose(implementation, q, fits=holds(key_size, writes_a_token, precision))
    if ran == "triton":
        chunk = tokens_a_row(chunk, writes_a_token, precision)
    if ran == "reference":
        cast = [None if x is None else x.to(working) for x in tokens]
        output, final_state, states, before_readouts = token_loop(family.step, cast, state, layout, family.read)
    else:
        run_table = _implementation(family, ran, precision)
        output, final_state, states, before_readouts = run_table(tokens, state, ChunkTable.of(layout, chunk))
    output = read_edited(output, q, before_readouts, layout)
    return RecurrenceOutput(output.to(v.dtype), final_state, states, layout.tap_positions, ran)


def choose(implementation: str, tensor: Tensor, *, fits: bool = True) -> str:
    """The implementation to run. "auto" is the fastest that this device runs; a name is run or refused.

    fits: whether the sizes are among those that the Triton kernels hold.
    """
    if implementation == "auto":
        wide = tensor.dtype in (torch.float64, torch.complex128)
        return "triton" if tensor.is_cuda and fits and not wide else "chunked"
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={implementation!r} is not known; one of auto, {', '.join(IMPLEMENTATIONS)}")
    if implementation == "triton":
        from .triton.launch import check_can_run

        check_can_run(tensor)
    return implementation


RunTable = Callable[[Sequence[Tensor | None], Tensor, ChunkTable], tuple[Tensor, Tensor, Tensor | None, list[Tensor]]]


def _implementation(family: Family, ran: str, precision: Precision) -> RunTable:
    """What runs the family over the rows of a table."""
    storage = None if precision == "exact" else FAST_STORAGE
    if ran == "chunked":
        return partial(pass_states, family.terms, how=replace(CHUNKED, storage=storage))
    if family.one_decay:
        from .triton.scalar_pass import run as run_scalar

        return partial(run_scalar, storage=storage or torch.float32)
    from .triton.inverse import unit_lower_inverse
    from .triton.pass_rows import PASSING
    from .triton.vector_gram import vector_gram

    solve = {"inverse_of": unit_lower_inverse} if family.solves else {}
    return partial(pass_states, partial(family.terms, gram_of=vector_gram, **solve), how=replace(PASSING, storage=storage))


def read_edited(output: Tensor, q: Tensor, before: Sequence[Tensor], layout: Layout) -> Tensor:
    """The output [B, T, H, V] with what q [B, T, H, K] reads at the layout's read-out edits, from the states before them
    [s, H, K, V], each place's edits in their order.
    """
    changed: dict[Place, Tensor] = {}
    for (place, edit), state in zip(layout.readouts, before, strict=True):
        changed[place] = edit.apply(changed.get(place, state))
    for place, state in changed.items():
        at = torch.tensor([layout.starts[sequence] + place.local for sequence in place.sequences], device=output.device)
        read = (q.flatten(0, 1).index_select(0, at).to(state.dtype)[..., None, :] @ state).squeeze(-2)
        output = output.flatten(0, 1).index_copy(0, at, read.to(output.dtype)).unflatten(0, output.shape[:2])
    return output
