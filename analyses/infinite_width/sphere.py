"""Kernels of two points' angle on the sphere, by degree: what a wide network without a preferred direction learns first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import comb, eval_gegenbauer, gammaln, roots_jacobi
from torch import Tensor

from ...probe.errors import unknown_name
from .network import InfiniteNetwork, Kernels, infinite_width_kernels


def sphere_eigenvalues(kernel: Callable[[Tensor], Tensor], dimension: int, degrees: int, nodes: int = 400) -> Tensor:
    """The eigenvalues of a kernel k(x . x') under the uniform law on the unit sphere of R^d, one for each degree: [degrees].

    By the formula of Funk and Hecke (Bach 2017, arXiv:1412.8690) spherical harmonics of degree j share the eigenvalue
    l_j = Gamma(d/2) / (sqrt(pi) Gamma((d - 1)/2)) int_{-1}^1 k(t) P_j(t) (1 - t^2)^{(d - 3)/2} dt, with P_j the Gegenbauer
    polynomial of index d/2 - 1, P_j(1) = 1; `sphere_multiplicities` says how many there are, and sum_j N_j l_j = k(1).

    kernel: of cosines [n] to values [n]. dimension: d, 3 or more. degrees: 0 up to this number less one. nodes: of the
    Gauss-Jacobi rule, exact for polynomials; an eigenvalue that is small beside the rule's error near t = 1 is not to be trusted.
    Raises ValueError for a dimension below 3, or more degrees than half the nodes.
    """
    if dimension < 3 or degrees > nodes // 2:
        raise ValueError(f"dimension >= 3 and degrees <= nodes / 2 are needed, got {dimension}, {degrees} and {nodes}")
    power, index = (dimension - 3) / 2, dimension / 2 - 1
    points, weights = roots_jacobi(nodes, power, power)
    values = kernel(torch.as_tensor(points)).numpy() * weights
    scale = np.exp(gammaln(dimension / 2) - gammaln((dimension - 1) / 2)) / np.pi**0.5
    degree = np.arange(degrees)
    found = scale * (eval_gegenbauer(degree[:, None], index, points) @ values) / eval_gegenbauer(degree, index, 1.0)
    return torch.from_numpy(found)


def sphere_multiplicities(dimension: int, degrees: int) -> Tensor:
    """How many spherical harmonics of each degree there are on the unit sphere of R^d: C(d + j - 1, j) - C(d + j - 3, j - 2)."""
    counts = [
        comb(dimension + j - 1, j, exact=True) - (comb(dimension + j - 3, j - 2, exact=True) if j > 1 else 0)
        for j in range(degrees)
    ]
    return torch.tensor(counts)


def kernel_of_angle(network: InfiniteNetwork, dimension: int, which: str = "nngp") -> Callable[[Tensor], Tensor]:
    """The kernel of a network ("nngp" or "ntk") as a function of the cosine of two points on the unit sphere of R^d.

    Raises UnknownNameError for another kernel, and ValueError for a dimension below 2.
    """
    if which not in Kernels._fields:
        raise unknown_name("kernel", which, Kernels._fields)
    if dimension < 2:
        raise ValueError(f"dimension={dimension} must be at least 2")

    def kernel(cosine: Tensor) -> Tensor:
        points = torch.zeros(len(cosine), dimension, dtype=torch.float64)
        points[:, 0], points[:, 1] = cosine, (1 - cosine.square()).clamp(min=0).sqrt()
        pole = torch.zeros(1, dimension, dtype=torch.float64)
        pole[0, 0] = 1.0
        found: Tensor = getattr(infinite_width_kernels(network, points, pole), which)[:, 0]
        return found

    return kernel
