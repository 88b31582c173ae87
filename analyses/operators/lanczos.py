"""Lanczos: the outer eigenpairs of a self-adjoint operator from a few applications of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.operators.operator import Operator, square_self_adjoint
from .krylov import Krylov


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
    """Eigenvalues, descending, their vectors [size, count], |A v - l v| of each, and how many vectors A was applied to."""

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
    krylov = Krylov(operator, start[:, None], reorthogonalise=reorthogonalise)
    while krylov.applied < min(steps, size) and not krylov.exhausted:
        krylov.grow()
    matrix = krylov.matrix
    return Tridiagonal(matrix.diagonal().real, matrix.diagonal(-1).real, krylov.basis, float(krylov.coupling.norm()))


def top_eigenpairs(
    operator: Operator,
    count: int,
    generator: torch.Generator,
    *,
    tolerance: float = 1e-8,
    most_steps: int | None = None,
    block: int = 1,
) -> Eigenpairs:
    """The `count` largest eigenvalues of a self-adjoint operator with their vectors, by Lanczos without forming the matrix.

    generator: draws the start vectors. tolerance: on each pair's residual |A v - l v|, as a share of the largest eigenvalue.
    most_steps: vectors that the operator may be applied to; left out, the operator's size.
    block: start vectors, which the operator is applied to together (Golub and Underwood 1977). One needs the fewest products;
        more are quicker where a block costs less than its vectors one by one.

    The basis grows until all pairs hold the tolerance, and nothing of it is computed twice. For the residuals,
    |B s| with B what the last block leaves and s the last components of an eigenvector of T, T is solved each time the basis has
    grown by a tenth; those of the result are measured by another product. At a pair of residual r lies an eigenvalue within r.
    An eigenvalue shows as often as it is multiple, and at most `block` times in a basis that can still grow. One that holds all
    that the operator can reach from its start, as of a kernel of deficient rank, leaves the rest unseen: then others are begun at
    right angles to it, until one holds nothing larger than the last pair.

    Raises ValueError where `count` does not lie between 1 and the size or `block` between 1 and the size, and RuntimeError with
    the residuals where `most_steps` do not suffice.
    """
    size = square_self_adjoint(operator, "top_eigenpairs")
    for name, value in (("count", count), ("block", block)):
        if not 1 <= value <= size:
            raise ValueError(f"{name}={value} must lie between 1 and {size}")
    most = size if most_steps is None else min(most_steps, size)
    start = torch.randn(size, block, generator=generator, dtype=operator.dtype, device=operator.device)
    found, space, exhausted = _outer(operator, Krylov(operator, start), count, count, tolerance, most, 0.0)
    while exhausted and space.shape[1] < size:
        scale, lacking, room = float(found.values.abs().max()), count - len(found.values), size - space.shape[1]
        start = torch.randn(size, min(block, room), generator=generator, dtype=operator.dtype, device=operator.device)
        beside, wanted = Krylov(operator, start, beside=space), min(max(1, lacking), room)
        rest, more, _ = _outer(operator, beside, wanted, count, tolerance, most - space.shape[1], scale)
        if lacking == 0 and float(rest.values[0]) <= float(found.values[-1]) + tolerance * scale:
            break
        found, space = _joined(found, rest, count), torch.cat([space, more], dim=1)
    return found


def _outer(
    operator: Operator, krylov: Krylov, wanted: int, count: int, tolerance: float, most: int, scale: float
) -> tuple[Eigenpairs, Tensor, bool]:
    """The largest eigenpairs in a Krylov space that is still to grow: as many as are wanted, and of an exhausted space, which is
    not looked at again, `count` or all that it holds.

    scale: of eigenvalues known already, which the tolerance is a share of too. The second is what the operator maps into itself,
    within the tolerance: the space if it is exhausted, as the third says, and else the eigenvectors.
    """
    solved = 0
    while True:
        krylov.grow()
        ended = krylov.exhausted or krylov.applied + krylov.width > most
        if not ended and krylov.applied < max(wanted, 1.1 * solved):
            continue
        solved = krylov.applied
        values, inner = torch.linalg.eigh(krylov.matrix)
        values, inner = values.flip(0), inner.flip(1)
        estimates = (krylov.coupling @ inner[-krylov.coupling.shape[1] :, :wanted]).norm(dim=0)
        largest = float(values[:wanted].abs().max())
        if krylov.exhausted or (len(values) >= wanted and bool((estimates <= tolerance * max(scale, largest)).all())):
            kept = count if krylov.exhausted else wanted
            values, vectors = values[:kept], krylov.basis @ inner[:, :kept]
            residuals = (operator.matmat(vectors) - vectors * values).norm(dim=0)
            found = Eigenpairs(values, vectors, residuals, solved + vectors.shape[1])
            return found, krylov.basis if krylov.exhausted else vectors, krylov.exhausted
        if ended:
            raise RuntimeError(
                f"{solved} steps of Lanczos leave residuals up to {float(estimates.max()):.3g}; allow more steps or a tolerance "
                f"of {float(estimates.max()) / largest:.1g}"
            )


def _joined(one: Eigenpairs, other: Eigenpairs, count: int) -> Eigenpairs:
    """The largest of both."""
    values = torch.cat([one.values, other.values])
    order = values.argsort(descending=True, stable=True)[:count]
    vectors, residuals = torch.cat([one.vectors, other.vectors], dim=1), torch.cat([one.residuals, other.residuals])
    return Eigenpairs(values[order], vectors[:, order], residuals[order], one.applications + other.applications)
