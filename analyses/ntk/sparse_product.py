"""A product with a matrix whose backward pass skips the positions at which no gradient arrives.

Outputs that are read at the last token send no gradient to the other tokens of what follows the last mixer, and autograd
multiplies their zeros by the matrix all the same: in a model of two layers that is a third of all products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .products import product

ALIVE = 0.5  # the share of positions above which all are multiplied
WORTH = 2**24  # multiplications below which a product is autograd's own: a look at what it multiplies takes longer
SOME = 64  # rows that are looked at first, every so many of them: an odd number, so that not all are of one position
FIRST = 8  # columns of these: behind a ReLU half of a column is zero


def sparse_product(x: Tensor, matrix: Tensor) -> Tensor:
    """x [..., m] @ matrix [m, n]. The matrix's gradient is a node of its own, which a pass that does not ask for it leaves out.

    What a model does in float32 stays as it is: there the rounding depends on what is multiplied together.
    """
    small = x.numel() * matrix.shape[1] < WORTH
    if small or x.dtype != torch.float64 or matrix.dtype != torch.float64 or not x.requires_grad:
        return x @ matrix
    found: Tensor = _GradientOfInput.apply(x.detach() @ matrix, x, matrix.detach())  # type: ignore[no-untyped-call]
    return found


class _GradientOfInput(torch.autograd.Function):
    """What was multiplied, given its product with W; backward: dx = g W^T at the positions where g is not zero."""

    @staticmethod
    def forward(ctx: Any, product: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        return product.view_as(product)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (matrix,) = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        alive = alive_rows(rows)
        if alive is None:
            into = product(rows, matrix.mT)  # of two matrices, which gradients in several pieces would not be
        else:
            into = rows.new_zeros(len(rows), len(matrix)).index_copy_(0, alive, product(rows[alive], matrix.mT))
        return gradient, into.view(*gradient.shape[:-1], len(matrix)), None


def alive_rows(rows: Tensor) -> Tensor | None:
    """The numbers of the rows [R, n] that are not zero; None where they are more than half, as far as some of them say."""
    some = rows[:: max(1, len(rows) // SOME) | 1, :FIRST]
    if int(some.any(-1).count_nonzero()) > ALIVE * len(some):
        return None
    alive = some_nonzero(rows).nonzero()[:, 0]
    return None if len(alive) > ALIVE * len(rows) else alive


def some_nonzero(x: Tensor) -> Tensor:
    """Whether some number along the last axis is not zero: real x [..., n] to [...], in less than half of the time of `any`."""
    return (x.amax(-1) != 0) | (x.amin(-1) != 0)
