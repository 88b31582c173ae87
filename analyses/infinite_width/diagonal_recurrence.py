"""The tangent kernel of a diagonal linear recurrence, exact at any width, and its limit as the width grows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..operators.precise import precise_numbers


def diagonal_recurrence_ntk(decay: Tensor, write: Tensor, read: Tensor, first: Tensor, second: Tensor | None = None) -> Tensor:
    """The tangent kernel of y = sum_i c_i h_{i,T} with h_{i,t} = lambda_i h_{i,t-1} + b_i x_t, h_0 = 0, in float64.

    decay, write, read: lambda, b and c, each [channel], all of them trained.
    first: scalar sequences [N, T]. second: [M, T]; left out, it is `first`.

    With A(x) = sum_t lambda^{T-t} x_t and B(x) = dA/dlambda = sum_t (T - t) lambda^{T-t-1} x_t the gradients are
    dy/db = c A, dy/dc = b A, dy/dlambda = b c B, so that the kernel is, summed over channels,

        (b^2 + c^2) A(x) A(x') + b^2 c^2 B(x) B(x').

    It is the linear case of the field: all of memory is in A, and how it can be learnt in B. Returns [N, M]. The channels are
    real: of complex ones, read by their real part, the formula is another. Raises what `precise_numbers` raises.
    """
    second = first if second is None else second
    decay, write, read, first, second = precise_numbers(
        decay=(decay, "channel"),
        write=(write, "channel"),
        read=(read, "channel"),
        first=(first, "sample time"),
        second=(second, "other time"),
    )
    age = torch.arange(first.shape[1] - 1, -1, -1, dtype=torch.float64)[:, None]
    memory = decay**age
    slope = torch.where(age > 0, age * decay ** (age - 1).clamp(min=0), torch.zeros_like(memory))
    sums = [(inputs @ memory, inputs @ slope) for inputs in (first, second)]
    (held, learnt), (held_too, learnt_too) = sums
    weight = write**2 + read**2
    return (held * weight) @ held_too.T + (learnt * (write * read) ** 2) @ learnt_too.T


def infinite_diagonal_recurrence_ntk(
    least: float, largest: float, first: Tensor, second: Tensor | None = None, *, nodes: int = 64
) -> Tensor:
    """The kernel of n^{-1/2} sum_i c_i h_{i,T} as the channels n grow: lambda uniform in [least, largest], b and c ~ N(0, 1).

    It is the expectation of `diagonal_recurrence_ntk` over one channel, 2 E[A A'] + E[B B'], by Gauss-Legendre quadrature: a
    bilinear form x^T G x' with G_kl = 2 E[lambda^{k+l}] + k l E[lambda^{k+l-2}] over the lags k and l. It is exact for sequences
    of up to `nodes` tokens.

    first: [N, T]; second: [M, T]; left out, it is `first`. Returns [N, M] in float64. Raises ValueError for an empty range, or
    for more tokens than nodes.
    """
    second = first if second is None else second
    if not least < largest:
        raise ValueError(f"decays between {least} and {largest} are none")
    if first.shape[1] > nodes:
        raise ValueError(f"{first.shape[1]} tokens need as many nodes, not {nodes}")
    points, weights = np.polynomial.legendre.leggauss(nodes)
    decay = torch.tensor((largest - least) / 2 * points + (largest + least) / 2)
    weight = torch.tensor(weights / 2)
    ones = torch.ones_like(decay)
    # b^2 + c^2 has the mean 2, b^2 c^2 the mean 1: both are met by b^2 = c^2 = 1.
    scaled = [diagonal_recurrence_ntk(decay[i : i + 1], ones[:1], ones[:1], first, second) for i in range(nodes)]
    return torch.einsum("i,inm->nm", weight, torch.stack(scaled))


class DiagonalRecurrence(nn.Module):
    """A diagonal linear recurrence of n channels, y = n^{-1/2} sum_i c_i h_{i,T}: sequences [N, T] to [N, 1], in float64.

    Its kernel is `diagonal_recurrence_ntk` of its parameters, over n.
    """

    def __init__(self, channels: int, generator: torch.Generator, least: float = 0.0, largest: float = 1.0) -> None:
        """Draw lambda uniform in [least, largest], b and c from N(0, 1)."""
        super().__init__()
        draws = torch.rand(channels, generator=generator, dtype=torch.float64)
        self.decay = nn.Parameter(least + (largest - least) * draws)
        self.write = nn.Parameter(torch.randn(channels, generator=generator, dtype=torch.float64))
        self.read = nn.Parameter(torch.randn(channels, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), len(self.decay))
        for token in x.unbind(1):
            state = self.decay * state + self.write * token[:, None]
        out: Tensor = (state * self.read).sum(1, keepdim=True) / len(self.decay) ** 0.5
        return out

    def kernel(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Its tangent kernel by the formula."""
        return diagonal_recurrence_ntk(self.decay.detach(), self.write.detach(), self.read.detach(), first, second) / len(
            self.decay
        )
