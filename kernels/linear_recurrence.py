"""A linear recurrence with any transition: what has no kernel of its own, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import check_finite, check_shapes
from .chunk_table import Layout
from .dispatch import read_edited
from .operators.transition import Transition
from .precision import outside_autocast, widened
from .recurrence import Edit, RecurrenceOutput, TapRequest
from .reference.token_loop import token_loop


@outside_autocast
def linear_recurrence(
    q: Tensor,
    transition: Transition,
    write: Tensor,
    *,
    initial_state: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
) -> RecurrenceOutput:
    """S_t = A_t S_{t-1} + B_t, o_t = S_t^T q_t, for a Transition A_t = diag(d_t) + L_t R_t^T of each token.

    The equation itself, in T steps: for structures that no other call here has, and to meet those that have one. Complex
    transitions make a complex state, of which the real part is read.

    q: [B, T, H, K]. transition: of [B, T, H], its size K. write: [B, T, H, K, V]. initial_state: [B, H, K, V]; zero when None.
    taps, edits, and what is returned: as in `linear_attention`. Memory is O(B T H K V), that of the writes.

    Raises ValueError for shapes that disagree or values that are not finite, IndexError for taps and edits out of range.
    """
    sizes: dict[str, int] = {}
    check_shapes(sizes, q=(q, "B T H K"), write=(write.real, "B T H K V"))
    if transition.left.shape[:-1] != q.shape:
        raise ValueError(
            f"transition is of {tuple(transition.left.shape[:-2])} tokens and size {transition.size}; q [B, T, H, K] is "
            f"{tuple(q.shape)}"
        )
    check_finite(q=q, write=write, diagonal=transition.diagonal, left=transition.left, right=transition.right)
    layout = Layout.of(q.shape[0], q.shape[1], None, taps, edits)
    working = torch.promote_types(widened(q).dtype, torch.promote_types(transition.diagonal.dtype, widened(write).dtype))
    start = torch.zeros_like(write[:, 0]) if initial_state is None else initial_state
    check_shapes(sizes, initial_state=(start.real, "B H K V"))
    tokens = (q.to(working), *transition.parts, write.to(working))
    output, final, states, before = token_loop(_step, tokens, start.to(working), layout)
    output = read_edited(output, tokens[0], before, layout)
    read = output.real if output.is_complex() else output
    return RecurrenceOutput(read.to(q.dtype), final, states, layout.tap_positions, "reference")


def linear_recurrence_attention(q: Tensor, k: Tensor, transition: Transition) -> Tensor:
    """M [B, H, T, T] with o_i = sum_j M_ij v_j for the writes k_t v_t^T: M_ij = q_i . A_i ... A_{j+1} k_j, of its real part.

    q, k: [B, T, H, K]. One step a token carries every key so far; memory is O(B H K T).
    """
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"))
    keys = k[:, 0, :, :, None].to(torch.promote_types(k.dtype, transition.diagonal.dtype))
    rows = []
    for t in range(q.shape[1]):
        if t:
            keys = torch.cat([transition[:, t].matmat(keys), k[:, t, :, :, None].to(keys.dtype)], dim=-1)
        scores = (q[:, t, :, None].to(keys.dtype) @ keys).squeeze(-2)
        rows.append(torch.nn.functional.pad(scores.real if scores.is_complex() else scores, (0, q.shape[1] - 1 - t)))
    return torch.stack(rows, dim=2)


def _step(state: Tensor, *token: Tensor) -> Tensor:
    *parts, write = token
    return Transition(*parts).matmat(state) + write
