"""A cell's states on a GPU, with their gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..precision import outside_autocast
from .launch import launch_cell, launch_cell_adjoint


class TritonCell(torch.autograd.Function):
    """All states [N, T, H, P, D] of a cell; backward: one kernel for d inputs, and products over all tokens for the rest."""

    @staticmethod
    def forward(cell: str, inputs: Tensor, recurrent: Tensor, bias: Tensor, state: Tensor) -> Tensor:
        return launch_cell(cell, inputs, recurrent, bias, state)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.cell, *tensors = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, recurrent, bias, state, states = ctx.saved_tensors
        before = torch.cat([state[:, None], states[:, :-1]], dim=1)
        from_state = torch.einsum("hgde,nthe->nthgd", recurrent.float(), before[..., 0, :]) + bias
        d_inputs, d_state = launch_cell_adjoint(ctx.cell, inputs, from_state, recurrent, before, states, gradient)
        d_from_state = d_inputs
        if ctx.cell == "gru":
            reset = (inputs[:, :, :, 0] + from_state[:, :, :, 0]).sigmoid()
            d_from_state = torch.cat([d_inputs[:, :, :, :2], d_inputs[:, :, :, 2:] * reset[:, :, :, None]], dim=3)
        d_recurrent = torch.einsum("nthgd,nthe->hgde", d_from_state, before[..., 0, :])
        gradients = (d_inputs, d_recurrent, d_from_state.sum((0, 1)), d_state)
        given = (inputs, recurrent, bias, state)
        return None, *(one.to(x.dtype) for one, x in zip(gradients, given, strict=True))


def cell_states(cell: str, inputs: Tensor, recurrent: Tensor, bias: Tensor, state: Tensor) -> Tensor:
    """All states [N, T, H, P, D], in float32, from inputs [N, T, H, G, D] and the state before them [N, H, P, D]."""
    states: Tensor = TritonCell.apply(cell, inputs, recurrent, bias, state)  # type: ignore[no-untyped-call]
    return states
