"""Training of a model that is linear in its parameters, in closed form: the lazy limit of any network."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.precise import positive_eigenpairs, positive_eigenvalues, precise_numbers


class Predictions(NamedTuple):
    """Predictions over time: train [steps, N, O], test [steps, M, O]."""

    train: Tensor
    test: Tensor


def largest_stable_step(kernel: Tensor) -> float:
    """2 / lambda_max: above this step gradient descent on 1/2 |f - y|^2 diverges. kernel: [N, N].

    Infinite for a kernel of zeros. Raises what `positive_eigenvalues` raises.
    """
    return float(2 / positive_eigenvalues(kernel)[-1])


def gradient_descent(
    kernel: Tensor,
    targets: Tensor,
    times: Tensor,
    step: float | None = None,
    test_kernel: Tensor | None = None,
    initial: Tensor | None = None,
    test_initial: Tensor | None = None,
) -> Predictions:
    """The predictions of a model linear in its parameters, trained on 1/2 |f - y|^2 by full-batch gradient descent.

    kernel: [N, N], its tangent kernel on the training set. targets: [N, O].
    times: [S], numbers of steps; without a step, times of the gradient flow.
    step: the learning rate; None is gradient flow.
    test_kernel: [M, N], between test and training set; left out, the test set is the training set.
    initial, test_initial: the model's predictions before training, [N, O] and [M, O]; zero if left out.

    f_t = f_0 + K_* phi_t(K) (y - f_0) with phi_t(l) = (1 - (1 - step l)^t) / l for descent and (1 - e^{-l t}) / l for the flow;
    at l = 0 both take their limits, step t and t (Lee et al. 2019, arXiv:1902.06720). Nothing is inverted, so a kernel of
    deficient rank is as good as any: eigenvalues within rounding of the kernel's entries, in the dtype that it is given in, are
    zero, and so is what a test kernel has along their eigenvectors if it is within rounding too. Otherwise late times would make
    rounding grow.

    Raises ValueError for a step above `largest_stable_step`, where training diverges, and one that is not positive and finite,
    for times below zero or none, and between two steps where a step overshoots; else what `precise_numbers` and
    `positive_eigenpairs` raise.
    """
    own, of_test = (_rounding(given) for given in (kernel, kernel if test_kernel is None else test_kernel))
    kernel, targets, times, test_kernel, initial, test_initial = precise_numbers(
        kernel=(kernel, "N N"),
        targets=(targets, "N O"),
        times=(times, "S"),
        test_kernel=(test_kernel, "M N"),
        initial=(initial, "N O"),
        test_initial=(test_initial, "N O" if test_kernel is None else "M O"),
    )
    if not len(times) or bool((times < 0).any()) or (step is not None and not 0 < step < inf):
        raise ValueError(f"times from 0 on and a positive, finite step are needed, got {times.tolist()} and {step}")
    values, vectors = positive_eigenpairs(kernel)
    start = torch.zeros_like(targets) if initial is None else initial
    cross = kernel if test_kernel is None else test_kernel
    if test_initial is None:
        test_start = start if test_kernel is None else targets.new_zeros(len(cross), targets.shape[1])
    else:
        test_start = test_initial
    if step is not None and step * float(values[-1]) > 2:
        raise ValueError(f"the step {step:.4g} diverges; the largest stable one is {2 / float(values[-1]):.4g}")
    if step is not None and step * float(values[-1]) > 1 and not torch.equal(times, times.round()):
        raise ValueError(f"above the step {1 / float(values[-1]):.4g} predictions turn around each step: times are whole numbers")
    size = len(kernel)
    empty = values <= max(size * _rounding(kernel) * float(values[-1]), size**0.5 * own * float(kernel.abs().max()))
    values = values.masked_fill(empty, 0.0)
    along = cross @ vectors
    along = along.masked_fill(empty & (along.abs() <= size * max(own, of_test) * cross.norm(dim=1, keepdim=True)), 0.0)
    learnt = torch.stack([_learnt(values, float(t), step) for t in times])[..., None] * (vectors.T @ (targets - start))
    return Predictions(start + vectors @ (values[:, None] * learnt), test_start + along @ learnt)


def _rounding(kernel: Tensor) -> float:
    """Of one, in the kernel's dtype. Independent roundings of N x N entries move eigenvalues by root N of them."""
    return torch.finfo(kernel.dtype if kernel.is_floating_point() else torch.float64).eps


def _learnt(values: Tensor, time: float, step: float | None) -> Tensor:
    """phi_t of each eigenvalue, without cancellation at small ones."""
    limit = time if step is None else time * step
    if step is None:
        shrunk = -torch.expm1(-values * time)
    else:
        factor = 1 - step * values
        stable = factor > 0
        log = torch.log1p(-step * values.where(stable, torch.zeros_like(values)))
        shrunk = torch.where(stable, -torch.expm1(time * log), 1 - factor.sign() ** (time % 2) * factor.abs() ** time)
    small = values.abs() * limit < 1e-14
    return torch.where(small, torch.full_like(values, limit), shrunk / values.where(~small, torch.ones_like(values)))
