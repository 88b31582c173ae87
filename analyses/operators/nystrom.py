"""A low-rank approximation of a positive operator, and ridge systems solved with it as preconditioner."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.arguments import check_finite
from ...kernels.operators.operator import Operator, square_self_adjoint
from ...probe.errors import StatescopeError


class NotPositiveError(StatescopeError, ValueError):
    """An operator that had to be positive semidefinite has an eigenvalue below zero by more than rounding."""


class NystromApproximation(NamedTuple):
    """U diag(values) U^T, where vectors [size, rank] are orthonormal and values [rank] descend and are not negative."""

    values: Tensor
    vectors: Tensor


class Solution(NamedTuple):
    """What solves (A + ridge I) x = b: x, the relative residual of each column, and how many iterations it took."""

    x: Tensor
    residuals: Tensor
    iterations: int


def nystrom(operator: Operator, rank: int, generator: torch.Generator) -> NystromApproximation:
    """The randomised Nystrom approximation of a positive semidefinite operator (Tropp et al. 2017, arXiv:1706.05736).

    From Y = A Q with Q an orthonormal Gaussian sketch of `rank` columns: A ~ Y (Q^T Y)^{-1} Y^T, never above A. A shift of
    rounding size makes the Cholesky factor exist and is taken off again.

    Raises ValueError for an operator that is not self-adjoint or a rank not between 1 and the size, and NotPositiveError where
    the sketch shows an eigenvalue below zero by more than rounding.
    """
    size = square_self_adjoint(operator, "nystrom")
    if not 1 <= rank <= size:
        raise ValueError(f"rank={rank} must lie between 1 and {size}")
    draw = torch.randn(size, rank, generator=generator, dtype=operator.dtype, device=operator.device)
    sketch = torch.linalg.qr(draw).Q
    image = operator.matmat(sketch)
    if not bool(image.any()):
        return NystromApproximation(image.new_zeros(rank), sketch)
    shift = torch.finfo(image.dtype).eps * size**0.5 * float(image.norm())
    image = image + shift * sketch
    core = sketch.mT @ image
    factor, failed = torch.linalg.cholesky_ex((core + core.mT) / 2)
    if int(failed):
        raise NotPositiveError("the operator has an eigenvalue below zero; compute it in float64, or add a ridge")
    root = torch.linalg.solve_triangular(factor, image.mT, upper=False).mT
    vectors, singular, _ = torch.linalg.svd(root, full_matrices=False)
    return NystromApproximation((singular.square() - shift).clamp(min=0), vectors)


def conjugate_gradients(
    operator: Operator,
    targets: Tensor,
    ridge: float,
    *,
    preconditioner: NystromApproximation | None = None,
    tolerance: float = 1e-10,
    most_iterations: int = 1000,
) -> Solution:
    """Solve (A + ridge I) x = targets for a positive semidefinite operator (Frangella et al. 2023, arXiv:2110.02820).

    targets: [size, m], each column by itself. ridge: positive, or 0 for an operator that is definite.
    preconditioner: of `nystrom`; with its last value l the preconditioned system has a condition number near
        (l + ridge) / ridge in place of (l_max + ridge) / ridge.
    tolerance: on |residual| / |target| of every column.

    Raises ValueError for a ridge below 0, targets that are not [size, m], and a preconditioner whose last value is zero without a
    ridge, which has no inverse; NonFiniteError for NaN and infinity; and RuntimeError, with the residuals, where
    `most_iterations` do not suffice: an approximate solution is never returned as if it were one.
    """
    size = square_self_adjoint(operator, "conjugate_gradients")
    if targets.ndim != 2 or len(targets) != size:
        raise ValueError(f"targets must be [{size}, m], got {tuple(targets.shape)}")
    if not 0 <= ridge < inf:
        raise ValueError(f"ridge={ridge} must be finite and not negative")
    if preconditioner is not None and float(preconditioner.values[-1]) + ridge <= 0:
        raise ValueError("a preconditioner of deficient rank needs a ridge; give one, or a lower rank")
    check_finite(targets=targets)
    norms = targets.norm(dim=0).clamp(min=torch.finfo(targets.dtype).tiny)
    x, residual = torch.zeros_like(targets), targets.clone()
    shaped = _precondition(residual, preconditioner, ridge)
    direction, product = shaped, (residual * shaped).sum(0)
    for iteration in range(1, most_iterations + 1):
        image = operator.matmat(direction) + ridge * direction
        curvature = (direction * image).sum(0)
        step = _ratio(product, curvature)
        x, residual = x + step * direction, residual - step * image
        relative = residual.norm(dim=0) / norms
        if bool((relative <= tolerance).all()):
            true = (targets - operator.matmat(x) - ridge * x).norm(dim=0) / norms
            return Solution(x, true, iteration)
        shaped = _precondition(residual, preconditioner, ridge)
        new = (residual * shaped).sum(0)
        direction = (
            shaped + torch.where(product > 0, new / product.where(product > 0, torch.ones_like(product)), 0 * new) * direction
        )
        product = new
    raise RuntimeError(
        f"{most_iterations} iterations leave a relative residual of {float(relative.max()):.3g}; raise the ridge, the "
        "preconditioner's rank or most_iterations"
    )


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """A column that is solved already, where both are 0, stays as it is."""
    return torch.where(bottom > 0, top / bottom.where(bottom > 0, torch.ones_like(bottom)), torch.zeros_like(top))


def _precondition(x: Tensor, low_rank: NystromApproximation | None, ridge: float) -> Tensor:
    if low_rank is None:
        return x
    values, vectors = low_rank
    inside = vectors.mT @ x
    scale = (values[-1] + ridge) / (values + ridge)
    return x + vectors @ ((scale - 1)[:, None] * inside)
