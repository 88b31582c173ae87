"""The density of eigenvalues by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.operators.operator import Operator, square_self_adjoint
from .lanczos import lanczos


class SpectralDensity(NamedTuple):
    """A discrete measure for each random start: nodes and weights [starts, steps], weights of a start sum to 1.

    Where a start's Krylov space ended early, the rest of its row has weight 0.
    """

    nodes: Tensor
    weights: Tensor
    size: int

    def distribution(self, at: Tensor) -> Tensor:
        """The share of eigenvalues at most `at` [points]: the mean over starts, half of a node's weight at the node itself."""
        below = (self.nodes[..., None] < at).to(self.weights.dtype) + 0.5 * (self.nodes[..., None] == at)
        return (self.weights[..., None] * below).sum(1).mean(0)

    def trace_of(self, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """The trace of f(A) and its standard error over starts, for f elementwise on eigenvalues."""
        each = self.size * (self.weights * function(self.nodes)).sum(1)
        return float(each.mean()), float(each.std() / len(each) ** 0.5) if len(each) > 1 else float("nan")


def spectral_density(operator: Operator, starts: int, steps: int, generator: torch.Generator) -> SpectralDensity:
    """Approximate the density of eigenvalues of a self-adjoint operator (Ubaru, Chen and Saad 2017, doi:10.1137/16M1104974).

    For a random unit vector v the eigenvalues of Lanczos's T with the squared first components of its eigenvectors are the
    Gauss rule of v's spectral measure, exact for polynomials up to degree 2 steps - 1. Rademacher vectors are averaged, `starts`
    of them; a few outliers far above the bulk are best found by `top_eigenpairs`.

    generator: draws the starts. Raises ValueError where starts or steps are below 1.
    """
    size = square_self_adjoint(operator, "spectral_density")
    if starts < 1 or steps < 1:
        raise ValueError(f"starts and steps must be at least 1, got {starts} and {steps}")
    nodes = torch.zeros(starts, min(steps, size), dtype=torch.float64)
    weights = torch.zeros_like(nodes)
    for row in range(starts):
        signs = torch.randint(0, 2, (size,), generator=generator, device=operator.device) * 2 - 1
        found = lanczos(operator, steps, signs.to(operator.dtype))
        off = torch.diag_embed(found.off_diagonal.double(), 1)
        values, vectors = torch.linalg.eigh(torch.diag_embed(found.diagonal.double()) + off + off.mT)
        nodes[row, : len(values)] = values.cpu()
        weights[row, : len(values)] = vectors[0].square().cpu()
    return SpectralDensity(nodes, weights, size)
