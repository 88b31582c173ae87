"""Means and covariances of features with labels, gathered batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.shown import with_shapes


@dataclass(frozen=True)
class Moments:
    """The moments of n samples (x, z), in float64, which are all that linear erasure needs of them.

    count: n. mean_x: [D]. mean_z: [k]. scatter_xx: sum (x - mean)(x - mean)^T, [D, D]. scatter_xz: the same of x and z, [D, k].
    """

    count: int
    mean_x: Tensor
    mean_z: Tensor
    scatter_xx: Tensor
    scatter_xz: Tensor

    __repr__ = with_shapes

    @classmethod
    def of(cls, x: Tensor, z: Tensor) -> Moments:
        """Compute the moments of one batch: x [n, D] and z [n, k], such as one-hot classes.

        A complex x is read as its real and imaginary parts side by side. Raises ValueError for what is not finite.
        """
        x = real_features(x)
        z = z.double()
        if x.ndim != 2 or z.ndim != 2 or len(x) != len(z) or not len(x):
            raise ValueError(
                f"features are [n, D] and labels [n, k] of the same n > 0; got {tuple(x.shape)} and {tuple(z.shape)}"
            )
        if not bool(x.isfinite().all() and z.isfinite().all()):
            raise ValueError("features and labels must be finite; leave out samples without a label")
        mean_x, mean_z = x.mean(0), z.mean(0)
        centred = x - mean_x
        return cls(len(x), mean_x, mean_z, centred.T @ centred, centred.T @ (z - mean_z))

    def __add__(self, other: Moments) -> Moments:
        """Of both sets of samples together (Chan, Golub and LeVeque 1983): nothing cancels, in whatever order batches come."""
        count = self.count + other.count
        step_x, step_z = other.mean_x - self.mean_x, other.mean_z - self.mean_z
        weight = self.count * other.count / count
        return Moments(
            count,
            self.mean_x + step_x * (other.count / count),
            self.mean_z + step_z * (other.count / count),
            self.scatter_xx + other.scatter_xx + weight * torch.outer(step_x, step_x),
            self.scatter_xz + other.scatter_xz + weight * torch.outer(step_x, step_z),
        )

    @property
    def covariance_xx(self) -> Tensor:
        """The covariance of x has the shape [D, D]; it is the scatter over n."""
        return self.scatter_xx / self.count

    @property
    def covariance_xz(self) -> Tensor:
        """The covariance of x and z has the shape [D, k]; it is the scatter over n."""
        return self.scatter_xz / self.count


def real_features(x: Tensor) -> Tensor:
    """Features [n, D] in float64; a complex one is its real and its imaginary part, side by side."""
    return (torch.view_as_real(x.resolve_conj()).flatten(-2) if x.is_complex() else x).double()
