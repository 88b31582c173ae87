"""The tangent kernel of a diagonal linear recurrence, exact at any width."""

from __future__ import annotations

import torch
from torch import Tensor


def diagonal_recurrence_ntk(decay: Tensor, write: Tensor, read: Tensor, first: Tensor, second: Tensor | None = None) -> Tensor:
    """The tangent kernel of y = sum_i c_i h_{i,T} with h_{i,t} = lambda_i h_{i,t-1} + b_i x_t, h_0 = 0, in float64.

    decay, write, read: lambda, b and c, each [channel], all of them trained.
    first: scalar sequences [N, T]. second: [M, T]; left out, it is `first`.

    With A(x) = sum_t lambda^{T-t} x_t and B(x) = dA/dlambda = sum_t (T - t) lambda^{T-t-1} x_t the gradients are
    dy/db = c A, dy/dc = b A, dy/dlambda = b c B, so that the kernel is, summed over channels,

        (b^2 + c^2) A(x) A(x') + b^2 c^2 B(x) B(x').

    It is the linear case of the field: all of memory is in A, and how it can be learnt in B. Returns [N, M].
    Raises ValueError for parameters of unequal shape or sequences that are not [N, T].
    """
    second = first if second is None else second
    if not decay.shape == write.shape == read.shape or decay.ndim != 1:
        raise ValueError(f"decay, write and read must be [channel], got {[tuple(p.shape) for p in (decay, write, read)]}")
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"sequences must be [sample, time] of one length, got {tuple(first.shape)} and {tuple(second.shape)}")
    decay, write, read = decay.double(), write.double(), read.double()
    age = torch.arange(first.shape[1] - 1, -1, -1, dtype=torch.float64)[:, None]
    memory = decay**age
    slope = torch.where(age > 0, age * decay ** (age - 1).clamp(min=0), torch.zeros_like(memory))
    sums = [(inputs.double() @ memory, inputs.double() @ slope) for inputs in (first, second)]
    (held, learnt), (held_too, learnt_too) = sums
    weight = write**2 + read**2
    return (held * weight) @ held_too.T + (learnt * (write * read) ** 2) @ learnt_too.T
