"""Cumulative log-decay inside a row, and the ratios of a scalar decay between its tokens, without overflow.

Ratios are e^{c_i - c_j} <= 1 with c the running sum of log-decay. c is summed and subtracted in float64: after many strong
gates its float32 rounding alone would be an error of 1e-4 in the ratio of two neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..precision import outside_autocast


def cumulative(log_decay: Tensor) -> Tensor:
    """c_i = g_1 + ... + g_i along the token axis, in float64. log_decay: [J, S, H, C] or [J, S, H, C, K]."""
    return log_decay.to(torch.float64).cumsum(3)


def causal_mask(readers: Tensor, writers: Tensor, dtype: torch.dtype) -> Tensor:
    """Make a mask [readers, writers]: 1 where a reader's token index is at or after the writer's, else 0."""
    return (readers[:, None] >= writers).to(dtype)


class ScalarRatios(torch.autograd.Function):
    """e^{c_i - c_j} where mask, else 0, with the backward pass as two sums instead of a chain of float64 tensors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(of_reader: Tensor, of_writer: Tensor, mask: Tensor) -> Tensor:
        # log(mask) is 0 or -inf; adding it is many times faster on a CPU than masked_fill.
        return ((of_reader[..., :, None] - of_writer[..., None, :]).to(mask.dtype) + mask.log()).exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.dtype = inputs[0].dtype

    @staticmethod
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ratios,) = ctx.saved_tensors
        weighted = gradient * ratios
        return weighted.sum(-1).to(ctx.dtype), -weighted.sum(-2).to(ctx.dtype), None


def scalar_ratios(of_reader: Tensor, of_writer: Tensor, mask: Tensor) -> Tensor:
    """e^{c_i - c_j} where mask, else 0. of_reader [..., I], of_writer [..., J], mask [I, J] of ones and zeros, whose dtype
    the result [..., I, J] has.
    """
    ratios: Tensor = ScalarRatios.apply(of_reader, of_writer, mask)  # type: ignore[no-untyped-call]
    return ratios
