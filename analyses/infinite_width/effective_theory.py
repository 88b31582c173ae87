"""Criticality of deep networks, and how finite width departs from infinite: the effective theory of Roberts et al. 2021."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .nonlinearities import Nonlinearity


class Susceptibilities(NamedTuple):
    """By how much a small change of a layer's kernel grows to the next: of its size, and of the difference of two inputs.

    Both are 1 for a network that is critical: above, signals explode with depth, and below, they die.
    """

    parallel: float
    perpendicular: float


def susceptibilities(nonlinearity: Nonlinearity, variance: float, weight_variance: float) -> Susceptibilities:
    """The two susceptibilities of a layer whose pre-activations z have this variance K (Roberts et al. 2021, arXiv:2106.10165).

    parallel = w d E[f(z)^2] / dK, perpendicular = w E[f'(z)^2] (equations 5.8 and 5.9 there, in this notation).
    variance: positive, for the first is a slope in it. Raises ValueError for another.
    """
    if not 0 < variance < float("inf"):
        raise ValueError(f"the variance must be positive, got {variance}; near 0 take a small one")
    at = torch.tensor(variance, dtype=torch.float64)
    width = 1e-4 * variance
    parallel = (nonlinearity.variance(at + width) - nonlinearity.variance(at - width)) / (2 * width)
    return Susceptibilities(weight_variance * float(parallel), weight_variance * float(nonlinearity.derivative(at, at, at)))


def critical_weight_variance(nonlinearity: Nonlinearity, variance: float = 1e-6) -> float:
    """The weight variance, without biases, at which differences of inputs neither grow nor die: 1 / E[f'(z)^2].

    variance: of the pre-activations; near 0 for odd saturating functions, whose kernel falls to 0 with depth, and any for ReLU.
    """
    return 1 / susceptibilities(nonlinearity, variance, 1.0).perpendicular


def kernel_by_depth(nonlinearity: Nonlinearity, variance: float, weight_variance: float, depth: int) -> Tensor:
    """The variance of the pre-activations of each of `depth` layers, K_{l+1} = w E[f(z)^2], from that of the first: [depth].

    Raises ValueError for a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"depth={depth} must be at least 1, the layer whose variance is given")
    found = [torch.tensor(variance, dtype=torch.float64)]
    for _ in range(depth - 1):
        found.append(weight_variance * nonlinearity.variance(found[-1]))
    return torch.stack(found)


def deep_linear_kurtosis(width: int, layers: int) -> float:
    """E[z^4] / (3 E[z^2]^2) of an output of a linear network of `layers` matrices with entries N(0, 1/width): (1 + 2/n)^{L-1}.

    Its departure from 1, the value of a Gaussian, is that of finite from infinite width: about 2 L / n, so that depth over width
    is what counts. Exact at every width.
    """
    return (1 + 2 / width) ** (layers - 1)
