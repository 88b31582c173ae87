"""Linear erasure: after it, no linear probe of the concept does better than a constant on the samples it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..subspaces.sides import Side
from .eraser import Eraser, MomentFitter
from .moments import Moments


@dataclass(frozen=True)
class MeanProjection(MomentFitter, kind="mean_projection"):
    """The orthogonal projection off the differences of class means: x - U U^T (x - mean), where U spans the columns of Cov(x, z).

    Classes have one mean afterwards, so that no linear probe finds them. It moves the activations more than LEACE does.
    """

    def eraser(self, moments: Moments, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        span = _span(moments.covariance_xz, self.tolerance)
        return Eraser(span, span.T, moments.mean_x, hook, name, side)


@dataclass(frozen=True)
class Leace(MomentFitter, kind="leace"):
    """Least-squares concept erasure (Belrose et al. 2023, arXiv:2306.03819, theorem 4.3): x - W^+ P W (x - mean).

    W = Cov(x, x)^{-1/2} whitens, and P projects on the columns of W Cov(x, z). Of all affine maps after which no linear probe
    beats a constant it is the one that moves the activations least, in every inner product.
    """

    def eraser(self, moments: Moments, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        values, vectors = torch.linalg.eigh(moments.covariance_xx)
        held = values > self.tolerance * values[-1]  # directions that no sample moves along have no inverse
        roots, vectors = values[held].sqrt(), vectors[:, held]
        whiten, unwhiten = (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T
        span = _span(whiten @ moments.covariance_xz, self.tolerance)
        return Eraser(unwhiten @ span, span.T @ whiten, moments.mean_x, hook, name, side)


def _span(columns: Tensor, tolerance: float) -> Tensor:
    """An orthonormal basis [D, r] of what columns [D, k] span."""
    left, values, _ = torch.linalg.svd(columns, full_matrices=False)
    return left[:, values > tolerance * values[0]]
