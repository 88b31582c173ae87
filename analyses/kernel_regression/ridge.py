"""Regression with a kernel at its end: the mean and the variance of a Gaussian process, or of a trained wide network."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.nystrom import NotPositiveError
from ..operators.precise import precise_numbers, symmetric_kernel


class Posterior(NamedTuple):
    """What is predicted of test points: mean [M, O]; variance [M] of each output, or None without the points' own kernel."""

    mean: Tensor
    variance: Tensor | None


def kernel_ridge(
    kernel: Tensor, targets: Tensor, test_kernel: Tensor, ridge: float = 0.0, test_variance: Tensor | None = None
) -> Posterior:
    """Predict test points by ridge regression with a kernel, the posterior of a Gaussian process with noise of variance `ridge`.

    mean = K_* (K + ridge I)^{-1} y, variance = K_** - K_* (K + ridge I)^{-1} K_*^T, its diagonal (Rasmussen and Williams 2006,
    equations 2.25 and 2.26). With the tangent kernel and no ridge the mean is what a lazy network that starts at zero predicts
    after training to the end; with the kernel of outputs (NNGP) it is the mean over infinitely wide Bayesian networks.

    kernel: [N, N]. targets: [N, O]. test_kernel: [M, N]. test_variance: [M], each test point's kernel with itself.

    Raises ValueError for a ridge that is negative or not finite, what `symmetric_kernel` raises, and NotPositiveError for a
    system that is not positive definite within rounding: of samples that stand twice, or of deficient rank, without a ridge.
    """
    kernel, targets, cross, test_variance = precise_numbers(
        kernel=(kernel, "N N"), targets=(targets, "N O"), test_kernel=(test_kernel, "M N"), test_variance=(test_variance, "M")
    )
    if not 0 <= ridge < inf:
        raise ValueError(f"ridge={ridge} must be finite and not negative")
    system = symmetric_kernel(kernel) + ridge * torch.eye(len(kernel), dtype=torch.float64, device=kernel.device)
    factor, failed = torch.linalg.cholesky_ex(system)
    rounding = len(system) * torch.finfo(system.dtype).eps * float(system.abs().sum(1).max())
    if int(failed) or not _least_eigenvalue(factor) > rounding:
        values = torch.linalg.eigvalsh(system)
        raise NotPositiveError(
            f"with its ridge of {ridge:.3g} the kernel has the eigenvalue {float(values[0]):.3g} beside {float(values[-1]):.3g}; "
            "compute it in float64, give a larger ridge, or leave samples out that stand twice"
        )
    mean = cross @ torch.cholesky_solve(targets, factor)
    if test_variance is None:
        return Posterior(mean, None)
    explained = torch.linalg.solve_triangular(factor, cross.mT, upper=False).square().sum(0)
    return Posterior(mean, test_variance - explained)


def _least_eigenvalue(factor: Tensor) -> float:
    """That of L L^T, nearly and from above, by inverse iteration: its first step finds one that is rounding beside the others.

    Rounding may leave a system of deficient rank a factor, which solves it to nothing but rounding.
    """
    vector = torch.randn(len(factor), 1, generator=torch.Generator().manual_seed(0), dtype=factor.dtype).to(factor)
    for _ in range(3):
        vector = torch.cholesky_solve(vector / vector.norm(), factor)
    return 1 / float(vector.norm())


def trained_ensemble(
    nngp: Tensor, ntk: Tensor, targets: Tensor, test_nngp: Tensor, test_ntk: Tensor, test_variance: Tensor, ridge: float = 0.0
) -> Posterior:
    """Predict test points by infinitely wide networks that descent has trained to the end, over draws of their weights.

    With Theta the tangent kernel and K the kernel of outputs at the start, A = Theta_* (Theta + ridge I)^{-1}: mean = A y,
    variance = K_** - 2 A K_*^T + A K A^T, its diagonal (Lee et al. 2019, arXiv:1902.06720). No posterior of any
    Gaussian process is like that unless Theta = K, where it is that of `kernel_ridge` without a ridge.

    nngp, ntk: [N, N]. targets: [N, O]. test_nngp, test_ntk: [M, N]. test_variance: [M], each test point's NNGP with itself.
    Raises what `kernel_ridge` raises.
    """
    own = symmetric_kernel(nngp, "nngp")
    own, ntk, targets, cross, test_ntk, test_variance = precise_numbers(
        nngp=(own, "N N"),
        ntk=(ntk, "N N"),
        targets=(targets, "N O"),
        test_nngp=(test_nngp, "M N"),
        test_ntk=(test_ntk, "M N"),
        test_variance=(test_variance, "M"),
    )
    weights = kernel_ridge(ntk, torch.eye(len(ntk), dtype=torch.float64, device=ntk.device), test_ntk, ridge).mean
    variance = test_variance - 2 * (weights * cross).sum(1) + ((weights @ own) * weights).sum(1)
    return Posterior(weights @ targets, variance)
