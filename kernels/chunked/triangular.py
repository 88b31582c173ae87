"""The inverse of a unit lower-triangular matrix, by forward substitution on small blocks that are then merged.

Neumann doubling, (I - A)(I + A^2)(I + A^4)..., needs the same products but loses all digits on correlated keys, where the
powers of A grow before they vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..forward_mode import differentiable
from ..precision import outside_autocast

Inverse = Callable[[Tensor], Tensor]
BASE = 8  # blocks of this size are inverted row by row


class UnitLowerInverse(torch.autograd.Function):
    """X = (I + A)^{-1} for strictly lower-triangular A [..., M, M]; backward: dA = -tril(X^T dX X^T, -1)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(strictly_lower: Tensor) -> Tensor:
        return _invert(strictly_lower)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return (inverse.mT @ gradient @ inverse.mT).tril(-1).neg_()

    @staticmethod
    @differentiable
    @outside_autocast
    def jvp(saved: Sequence[Tensor], tangent: Tensor) -> Tensor:
        (inverse,) = saved
        return -(inverse @ tangent.tril(-1) @ inverse)


def unit_lower_inverse(strictly_lower: Tensor) -> Tensor:
    """Invert I + A for strictly lower-triangular A [..., M, M], any M. What is not strictly below the diagonal is not read."""
    inverse: Tensor = UnitLowerInverse.apply(strictly_lower)  # type: ignore[no-untyped-call]
    return inverse


def _invert(lower: Tensor) -> Tensor:
    size = lower.shape[-1]
    if size <= BASE:
        return _substitute(lower)
    half = BASE * (-(-size // BASE) // 2)
    if half * 2 == size:
        both = _invert(torch.stack([lower[..., :half, :half], lower[..., half:, half:]]))
        head, tail = both[0], both[1]
    else:
        head, tail = _invert(lower[..., :half, :half]), _invert(lower[..., half:, half:])
    out = lower.new_zeros(lower.shape)
    out[..., :half, :half] = head
    out[..., half:, half:] = tail
    out[..., half:, :half] = -(tail @ (lower[..., half:, :half] @ head))
    return out


def _substitute(lower: Tensor) -> Tensor:
    """Row i of the inverse X is e_i - sum_{j < i} A_ij X_j, for all matrices side by side in planes [row, column, matrix]."""
    size = lower.shape[-1]
    planes = lower.flatten(0, -3).permute(1, 2, 0).contiguous() if lower.ndim > 2 else lower[..., None]
    inverse = torch.zeros_like(planes)
    inverse.diagonal(dim1=0, dim2=1).fill_(1)
    for j in range(size - 1):  # X_j is known: take it from all rows below
        inverse[j + 1 :, : j + 1] -= planes[j + 1 :, j, None] * inverse[j, : j + 1]
    return inverse.permute(2, 0, 1).contiguous().view(lower.shape)  # a product of strided batches runs one by one
