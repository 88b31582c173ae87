"""States of a linear system that no token chooses: h_t = A h_{t-1} + x_t with a dense A for each head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import NonFiniteError, can_read_values, check_finite, check_shapes
from .chunk_table import Layout
from .diagonal_scan import read_edited, scan_with_edits
from .precision import outside_autocast, widened
from .recurrence import Edit, RecurrenceOutput, TapRequest


@outside_autocast
def dense_scan(
    x: Tensor,
    matrix: Tensor,
    *,
    initial_state: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
) -> RecurrenceOutput:
    """h_t = A h_{t-1} + x_t, in log2(T) steps: after the step of lag s, h_t holds sum_{j < 2s} A^j x_{t-j}.

    The state of the linear state-space layer (Gu et al. 2021, arXiv:2110.13985), whose A, a discretised HiPPO matrix, is not
    normal: an eigenbasis exists and is of no use in floating point.

    x [B, T, H, C]. matrix [H, C, C]. initial_state [B, H, C]. taps, edits and what is returned as in `diagonal_scan`, float32 at
    least. Raises
    ValueError for shapes, NonFiniteError where states overflow, which an A with an eigenvalue outside the unit circle makes.
    """
    check_shapes({}, x=(x, "B T H C"), matrix=(matrix, "H C C"), initial_state=(initial_state, "B H C"))
    check_finite(x=x, matrix=matrix, initial_state=initial_state)
    x, matrix = widened(x), widened(matrix)
    layout = Layout.of(x.shape[0], x.shape[1], None, taps, edits)
    state = torch.zeros_like(x[:, 0]) if initial_state is None else initial_state.to(x.dtype)

    def scan(_: Tensor, part: Tensor, entering: Tensor) -> Tensor:
        return _doubling(part, matrix, entering)

    output, tapped, final = scan_with_edits(scan, x, x, state, layout)
    for place, edit in layout.readouts:
        output = read_edited(output, place, edit, layout)
    if can_read_values(output) and not bool(output.detach().isfinite().all()):
        radius = float(torch.linalg.eigvals(matrix.detach()).abs().max())
        raise NonFiniteError(f"the states overflow: matrix has an eigenvalue of modulus {radius:.6g}, and needs at most 1")
    return RecurrenceOutput(output, final, torch.stack(tapped, dim=1) if tapped else None, layout.tap_positions, "chunked")


def _doubling(x: Tensor, matrix: Tensor, entering: Tensor) -> Tensor:
    first = x[:, :1] + torch.einsum("hij,bhj->bhi", matrix, entering)[:, None]
    states, power, lag = torch.cat([first, x[:, 1:]], dim=1), matrix, 1
    while lag < x.shape[1]:
        later = states[:, lag:] + torch.einsum("hij,bthj->bthi", power, states[:, :-lag])
        states = torch.cat([states[:, :lag], later], dim=1)
        power, lag = power @ power, 2 * lag
    return states
