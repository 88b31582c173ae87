"""Lanczos: the outer eigenpairs of a self-adjoint operator from a few applications of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.operators.operator import Operator, square_self_adjoint


class Tridiagonal(NamedTuple):
    """What `steps` of Lanczos leave: A V = V T up to the last column.

    diagonal [steps], off_diagonal [steps - 1] of T; basis V [size, steps], orthonormal; residual, the norm of what the next
    vector would have been.
    """

    diagonal: Tensor
    off_diagonal: Tensor
    basis: Tensor
    residual: float


class Eigenpairs(NamedTuple):
    """Eigenvalues, descending by absolute value or by value, their vectors and |A v - l v| of each."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    applications: int


def lanczos(operator: Operator, steps: int, start: Tensor, *, reorthogonalise: bool = True) -> Tridiagonal:
    """Tridiagonalise a self-adjoint operator from a start vector (Lanczos 1950; Golub and Van Loan, chapter 10).

    steps: at most the operator's size. start: [size], of any length but zero.
    reorthogonalise: make each new vector orthogonal to all before it, twice. Without it rounding brings converged eigenvalues
        back as ghost copies: right for a density, wrong for a list of eigenvalues.

    It ends early where the start vector's Krylov space is exhausted. Raises ValueError for an operator that is not
    self-adjoint, and FloatingPointError where the operator gives NaN.
    """
    size = square_self_adjoint(operator, "Lanczos")
    norm = start.norm()
    if float(norm) == 0:
        raise ValueError("Lanczos needs a start vector that is not zero")
    basis = [start / norm]
    diagonal: list[Tensor] = []
    off: list[Tensor] = []
    residual = 0.0
    for step in range(min(steps, size)):
        vector = operator.matvec(basis[-1])
        if not bool(vector.isfinite().all()):
            raise FloatingPointError(f"{type(operator).__name__} gave NaN or infinity in step {step} of Lanczos")
        diagonal.append(torch.vdot(basis[-1], vector).real)
        vector = vector - diagonal[-1] * basis[-1] - (off[-1] * basis[-2] if off else 0)
        if reorthogonalise:
            known = torch.stack(basis, 1)
            for _ in range(2):
                vector = vector - known @ (known.mH @ vector)
        length = vector.norm()
        residual = float(length)
        scale = torch.stack([*(value.abs() for value in diagonal), *off]).max()
        exhausted = residual <= 10 * torch.finfo(length.dtype).eps * float(scale) * size**0.5
        if exhausted or step + 1 == min(steps, size):
            break
        off.append(length)
        basis.append(vector / length)
    edges = torch.stack(off) if off else diagonal[0].new_zeros(0)
    return Tridiagonal(torch.stack(diagonal), edges, torch.stack(basis, 1), residual)


def top_eigenpairs(
    operator: Operator,
    count: int,
    generator: torch.Generator,
    *,
    tolerance: float = 1e-8,
    most_steps: int | None = None,
) -> Eigenpairs:
    """The `count` largest eigenvalues of a self-adjoint operator with their vectors, by Lanczos without forming the matrix.

    generator: draws the start vector. tolerance: on each pair's residual |A v - l v|, as a share of the largest eigenvalue.
    most_steps: applications allowed; left out, the operator's size.

    Steps double until all pairs hold the tolerance; the residual is estimated from the last component of T's eigenvectors and
    then measured. An eigenvalue of multiplicity above one shows once, as from any single start vector. Raises ValueError where
    `count` does not lie between 1 and the size, and RuntimeError with the residuals where `most_steps` do not suffice.
    """
    size = square_self_adjoint(operator, "top_eigenpairs")
    if not 1 <= count <= size:
        raise ValueError(f"count={count} must lie between 1 and {size}")
    most = size if most_steps is None else min(most_steps, size)
    start = torch.randn(size, generator=generator, dtype=operator.dtype, device=operator.device)
    steps = min(most, max(2 * count + 10, 20))
    while True:
        found = lanczos(operator, steps, start)
        values, inner = torch.linalg.eigh(_tridiagonal(found))
        values, inner = values.flip(0)[:count], inner.flip(1)[:, :count]
        estimates = (found.residual * inner[-1]).abs()
        ended = found.basis.shape[1] < steps or steps == size
        if ended or bool((estimates <= tolerance * values.abs().max()).all()):
            vectors = found.basis @ inner.to(found.basis.dtype)
            residuals = (operator.matmat(vectors) - vectors * values).norm(dim=0)
            return Eigenpairs(values, vectors, residuals, found.basis.shape[1] + count)
        if steps >= most:
            raise RuntimeError(
                f"{steps} steps of Lanczos leave residuals up to {float(estimates.max()):.3g}; allow more steps or a tolerance "
                f"of {float(estimates.max() / values.abs().max()):.1g}"
            )
        steps = min(2 * steps, most)


def _tridiagonal(found: Tridiagonal) -> Tensor:
    off = torch.diag_embed(found.off_diagonal, 1)
    return torch.diag_embed(found.diagonal) + off + off.mT
