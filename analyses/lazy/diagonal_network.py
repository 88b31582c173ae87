"""A network between kernel regression and sparse regression, solved exactly: f = <u^2 - v^2, x>."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ..operators.precise import precise_numbers

MOST_STEPS = 200


def diagonal_network_limit(inputs: Tensor, targets: Tensor, scale: float) -> Tensor:
    """Solve for the limit of gradient flow on |X beta - y|^2 / 2 in u and v, beta = u^2 - v^2, from u = v = scale.

    (Woodworth et al. 2020, arXiv:2002.09277.) beta = 2 scale^2 sinh(4 X^T nu) with X beta = y: of all solutions the one of least
    hypentropy, which for a large scale is the least |beta|_2, the kernel's, and for a small one the least |beta|_1. Found by
    Newton's method on the convex dual sum_i scale^2 cosh(4 X^T nu)_i / 2 - y . nu.

    inputs: X [N, D] of rank N. targets: [N]. scale: positive. Returns beta [D] in float64.
    Raises ValueError for fewer directions than samples and a scale that is not positive and finite, what `precise_numbers`
    raises, and RuntimeError where Newton does not end.
    """
    x, y = precise_numbers(inputs=(inputs, "N D"), targets=(targets, "N"))
    if len(x) > x.shape[1]:
        raise ValueError(f"inputs [N, D] with N <= D are needed, got {tuple(x.shape)}")
    if not 0 < scale < inf:
        raise ValueError(f"scale={scale} must be positive and finite")
    dual = torch.zeros_like(y)
    for _ in range(MOST_STEPS):
        along = 4 * (x.T @ dual)
        missed = x @ (2 * scale**2 * torch.sinh(along)) - y
        if float(missed.norm()) <= 1e-12 * float(y.norm()):
            return 2 * scale**2 * torch.sinh(along)
        curvature = (x * (8 * scale**2 * torch.cosh(along))) @ x.T
        direction, failed = torch.linalg.solve_ex(curvature, -missed)
        if int(failed) or not bool(direction.isfinite().all()):
            break
        dual = dual + _step(x, y, scale, dual, direction, float(missed @ direction)) * direction
    raise RuntimeError(
        f"Newton's method leaves a residual of {float(missed.norm()):.3g}: the inputs are of deficient rank, or the scale "
        f"{scale:.3g} is too small beside the targets for float64; give a larger one"
    )


def _step(x: Tensor, y: Tensor, scale: float, dual: Tensor, direction: Tensor, slope: float) -> float:
    """Halve the step until the dual falls by a quarter of what its slope says."""

    def value(at: Tensor) -> float:
        return float((scale**2 / 2 * torch.cosh(4 * (x.T @ at))).sum() - y @ at)

    step, start = 1.0, value(dual)
    while step > 1e-12 and not value(dual + step * direction) <= start + 0.25 * step * slope + 1e-15 * abs(start):
        step /= 2
    return step
