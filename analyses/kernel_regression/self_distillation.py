"""Self-distillation of kernel ridge regression: each fit is the teacher of the next."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.precise import positive_eigenpairs, precise_numbers
from .ridge import kernel_ridge


class Chain(NamedTuple):
    """The predictions of each fit of a chain, the first with the targets themselves: train [steps, N, O], test [steps, M, O]."""

    train: Tensor
    test: Tensor


def self_distillation(
    kernel: Tensor, targets: Tensor, ridge: float, weight: float, steps: int, test_kernel: Tensor | None = None
) -> Chain:
    """Fit by kernel ridge `steps` times, each fit but the first to a mixture of the targets and the fit before it.

    y_1 = y, f_t = K (K + ridge I)^{-1} y_t, y_{t+1} = weight y + (1 - weight) f_t (Borup and Andersen 2021, arXiv:2102.13088).
    Along an eigenvector of K with eigenvalue k, and s = k / (k + ridge), q = (1 - weight) s, no fit has to be made one after
    another: y_t = (q^{t-1} + weight (1 - q^{t-1}) / (1 - q)) y. Without targets (weight 0) every mode shrinks by s^t, so that
    ever fewer are left; with them the chain ends at `self_distillation_limit`.

    kernel: [N, N]. targets: [N, O]. ridge: positive, or nothing changes from fit to fit. weight: of the targets, from 0 to 1.
    test_kernel: [M, N]; left out, the test points are the training points.

    Raises ValueError for numbers outside these ranges, and what `precise_numbers` and `positive_eigenpairs` raise.
    """
    kernel, targets, test_kernel = precise_numbers(
        kernel=(kernel, "N N"), targets=(targets, "N O"), test_kernel=(test_kernel, "M N")
    )
    if not 0 < ridge < inf or not 0 <= weight <= 1 or steps < 1:
        raise ValueError(f"a finite ridge > 0, weight in [0, 1] and steps >= 1 are needed, got {ridge}, {weight} and {steps}")
    values, vectors = positive_eigenpairs(kernel)
    along = vectors.T @ targets
    cross = kernel if test_kernel is None else test_kernel
    shares = torch.stack([_mixed(values, ridge, weight, step) for step in range(1, steps + 1)])
    duals = vectors @ (shares[..., None] * along / (values + ridge)[:, None])  # [steps, N, O]
    return Chain(kernel @ duals, cross @ duals)


def self_distillation_limit(kernel: Tensor, targets: Tensor, ridge: float, weight: float, test_kernel: Tensor) -> Tensor:
    """What a chain of fits predicts of test points in the end, [M, O]: kernel ridge with the penalty ridge / weight.

    The fixed point of `self_distillation`, s weight / (1 - (1 - weight) s) = k / (k + ridge / weight) (Borup and Andersen 2021,
    arXiv:2102.13088). Raises ValueError for a weight of 0, whose chain ends at zero.
    """
    if not 0 < weight <= 1:
        raise ValueError(f"weight={weight} must lie in (0, 1]: without targets the chain ends at zero")
    return kernel_ridge(kernel, targets, test_kernel, ridge / weight).mean


def best_second_weight(first: Tensor, second: Tensor, targets: Tensor) -> float:
    """The weight of the targets with which the second fit of a chain has the least squared error on held-out targets.

    That fit is weight f_1 + (1 - weight) f_2, f_2 the one of weight 0, and the error a parabola in the weight, whose vertex is
    <y - f_2, f_1 - f_2> / |f_1 - f_2|^2, cut to [0, 1] where the weights are.

    first, second, targets: f_1, f_2 and y at the held-out points [M, O]. Raises ValueError where the two fits are the same.
    """
    apart = first - second
    if float(apart.norm()) == 0:
        raise ValueError("both fits predict the same, so that every weight is as good")
    return min(1.0, max(0.0, float(((targets - second) * apart).sum() / apart.square().sum())))


def _mixed(values: Tensor, ridge: float, weight: float, step: int) -> Tensor:
    """The share of the targets that is left along each eigenvector in the targets of a step."""
    kept = (1 - weight) * values / (values + ridge)
    before = kept ** (step - 1)
    return before + weight * (1 - before) / (1 - kept)
