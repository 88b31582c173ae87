"""How a cell's state after a token depends on the state before it."""

from __future__ import annotations

import torch
from torch import Tensor

from .cell_scan import CELLS, CellName, cell_scan
from .precision import outside_autocast, widened


@outside_autocast
def cell_jacobians(
    cell: CellName, inputs: Tensor, recurrent: Tensor, bias: Tensor | None = None, *, initial_state: Tensor | None = None
) -> Tensor:
    """d state_t / d state_{t-1} along a sequence: [B, T, H, P D, P D], rows by the state after, parts outermost.

    Its eigenvalues are to a cell what those of a transition are to a linear recurrence. Arguments as in `cell_scan`. sLSTM's
    maximum m is a part like the others; its direction has the eigenvalue of a rescaling that cancels in h.
    """
    length = inputs.shape[1]
    out = cell_scan(cell, inputs, recurrent, bias, initial_state=initial_state, taps=list(range(length)))
    assert out.states is not None
    states = out.states
    start = torch.zeros_like(states[:, :1]) if initial_state is None else initial_state[:, None].to(states)
    before = torch.cat([start, states[:, :-1]], dim=1)
    inputs, recurrent = widened(inputs), widened(recurrent)
    shift = torch.zeros_like(recurrent[..., 0]) if bias is None else widened(bias)
    step = CELLS[cell].step

    def after(state: Tensor, token: Tensor, matrix: Tensor, b: Tensor) -> Tensor:
        """One head: [P, D] to [P, D]."""
        from_state = torch.einsum("gde,e->gd", matrix, state[0]) + b
        parts = step(state[None, None].unbind(2), token[None, None], from_state[None, None])
        return torch.stack(parts, dim=2)[0, 0]

    of_heads = torch.func.vmap(torch.func.jacrev(after))
    of_tokens = torch.func.vmap(torch.func.vmap(of_heads, in_dims=(0, 0, None, None)), in_dims=(0, 0, None, None))
    jacobians = of_tokens(before, inputs, recurrent, shift)
    return jacobians.flatten(-4, -3).flatten(-2, -1)
