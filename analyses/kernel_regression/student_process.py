"""Gaussian processes of a random scale: what a wide network is whose last layer has a random variance."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from .ridge import kernel_ridge


class StudentPosterior(NamedTuple):
    """What is predicted of test points: Student's t distributions with a location [M, O], squared scales [M] of each output, and
    their degrees of freedom.
    """

    location: Tensor
    squared_scale: Tensor
    degrees: float

    @property
    def variance(self) -> Tensor:
        """Variances [M]. Raises ValueError for two degrees of freedom or fewer, where they are infinite."""
        if self.degrees <= 2:
            raise ValueError(f"Student's t with {self.degrees:g} degrees of freedom has no finite variance")
        return self.squared_scale * self.degrees / (self.degrees - 2)


def inverse_gamma_scales(shape: float, rate: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw variances [count] with density ~ s^{-shape - 1} e^{-rate / s}: the reciprocals of gamma variables.

    A gamma variable of half-integer shape is half a sum of squared normal ones, so that a generator decides every draw. Raises
    ValueError for another shape, and numbers that are not positive.
    """
    degrees = round(2 * shape)
    if not (shape > 0 and rate > 0) or abs(degrees - 2 * shape) > 1e-12:
        raise ValueError(f"2 shape must be a positive whole number and rate positive, got shape={shape} and rate={rate}")
    return rate / (0.5 * torch.randn(count, degrees, generator=generator, dtype=torch.float64).square().sum(1))


def student_process(
    kernel: Tensor, targets: Tensor, test_kernel: Tensor, test_variance: Tensor, shape: float, rate: float
) -> StudentPosterior:
    """The posterior of a Gaussian process with kernel s K whose scale s, shared by all outputs, is inverse-gamma distributed.

    Before data it is Student's t with 2 shape degrees of freedom and squared scale (rate / shape) K (Lee et al. 2022,
    arXiv:2107.01408): the limit of networks of any width-independent last-layer variance s. Given n numbers y the scale is
    inverse-gamma again, with shape' = shape + n / 2 and rate' = rate + y^T K^{-1} y / 2, so that the location is that of the
    Gaussian process and the squared scale rate' / shape' (K_** - K_* K^{-1} K_*^T): wider where targets are larger than the
    prior expects (Shah, Wilson and Ghahramani 2014, arXiv:1402.4306, with their covariance for this scale).

    kernel: [N, N], positive definite; add noise to its diagonal where targets have some, which then scales with s too.
    targets: [N, O]. test_kernel: [M, N]. test_variance: [M], each test point's kernel with itself. shape, rate: positive.
    Raises ValueError for numbers that are not positive, and what `kernel_ridge` raises.
    """
    if not (0 < shape < inf and 0 < rate < inf):
        raise ValueError(f"shape and rate must be positive and finite, got {shape} and {rate}")
    gaussian = kernel_ridge(kernel, targets, test_kernel, 0.0, test_variance)
    assert gaussian.variance is not None
    after, misfit = shape + targets.numel() / 2, _misfit(kernel.double(), targets.double())
    return StudentPosterior(gaussian.mean, (rate + misfit / 2) / after * gaussian.variance, 2 * after)


def _misfit(kernel: Tensor, targets: Tensor) -> float:
    """y^T K^{-1} y, summed over outputs."""
    return float((targets * torch.linalg.solve(kernel, targets)).sum())
