"""Vectors along a surface that is known by points alone: its tangent frames, what moves a vector from one to the next, and a
Gaussian process of smooth tangent fields (Peach et al. 2023, arXiv:2309.16746).

The states of a recurrence lie on a surface, and h_{t+1} - h_t is a field of vectors along it. Each point i has a frame E_i [D, d]
of the first d principal directions of its neighbours. Between neighbours the orthogonal O_ij nearest to E_i^T E_j carries a
tangent vector of j to i, and the connection Laplacian

    (L u)_i = sum_j w_ij (u_i - O_ij u_j),      u_i in R^d, w symmetric

is the smaller, by <u, L u> / <u, u>, the less a field turns but for being carried along. Its eigenvectors phi_m, of eigenvalues
lambda_m, are the field's Fourier modes, and f ~ N(0, sum_m s(lambda_m) phi_m phi_m^T) with s(lambda) = a^2 e^{-lambda r^2 / 2} is
a prior of smooth fields that are tangent everywhere. a, r and the noise maximise the marginal likelihood of what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from ...kernels.shown import with_shapes

Values = NDArray[np.float64]


@dataclass(frozen=True)
class TangentSpace:
    """Points on a surface with their frames, and the modes of its tangent fields.

    points: [n, D]. frames: [n, D, d], orthonormal columns. eigenvalues: [n d], from the smoothest mode on. modes: [n d, n d], one
    a column, in the coordinates of the frames.
    """

    points: Values
    frames: Values
    eigenvalues: Values
    modes: Values

    __repr__ = with_shapes

    def coordinates(self, vectors: Values) -> Values:
        """The part along the surface of vectors [n, D], in the frames: [n, d]."""
        found: Values = np.einsum("nDd,nD->nd", self.frames, vectors)
        return found

    def vectors(self, coordinates: Values) -> Values:
        """The vectors [n, D] of coordinates in the frames [n, d]."""
        found: Values = np.einsum("nDd,nd->nD", self.frames, coordinates)
        return found


def tangent_space(points: Values, dimension: int, *, neighbours: int = 12) -> TangentSpace:
    """The frames and modes of a surface of a dimension d through points [n, D].

    neighbours: of a point, by which its frame is found and which it is joined to; at least d. Raises ValueError for points that
    are too few for them or not finite, for a dimension that the space does not have, and where the neighbours of a point do not
    vary along so many directions.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"points must be finite, [n, D], got shape {points.shape}")
    if not 1 <= dimension <= points.shape[1]:
        raise ValueError(f"dimension must be from 1 to the space's {points.shape[1]}, got {dimension}")
    if not dimension <= neighbours < len(points):
        raise ValueError(
            f"neighbours must be from dimension, {dimension}, to less than the {len(points)} points, got {neighbours}"
        )
    near = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors(return_distance=False)  # of points twice, none its own
    steps = points[near] - points[:, None]
    axes, lengths, _ = np.linalg.svd(steps.swapaxes(1, 2), full_matrices=False)
    flat = ~(lengths[:, dimension - 1] > 1e-9 * lengths[:, 0])
    if flat.any():
        raise ValueError(
            f"the neighbours of {flat.sum()} points lie along fewer than {dimension} directions; take more neighbours, or leave "
            "out points that are there several times"
        )
    frames = axes[..., :dimension]
    eigenvalues, modes = np.linalg.eigh(_connection_laplacian(frames, near))
    return TangentSpace(points, frames, np.clip(eigenvalues, 0, None), modes)


def _connection_laplacian(frames: Values, near: NDArray[np.int64]) -> Values:
    """[n d, n d], with weight 1 between points of which one is a neighbour of the other."""
    count, _, size = frames.shape
    joined = np.zeros((count, count), dtype=bool)
    joined[np.arange(count)[:, None], near] = True
    first, second = np.nonzero(np.triu(joined | joined.T))
    blocks = np.zeros((count, count, size, size))
    blocks[first, second] = -_carried(frames[first], frames[second])
    blocks[second, first] = blocks[first, second].swapaxes(1, 2)
    degree = (joined | joined.T).sum(1)
    blocks[np.arange(count), np.arange(count)] = degree[:, None, None] * np.eye(size)
    return blocks.swapaxes(1, 2).reshape(count * size, count * size)


def _carried(to: Values, source: Values) -> Values:
    """What carries a vector from the frames of `source` to those of `to`, each [e, D, d]: O [e, d, d]."""
    left, _, right = np.linalg.svd(to.swapaxes(1, 2) @ source)
    carried: Values = left @ right
    return carried


@dataclass(frozen=True)
class TangentField:
    """A tangent field found from some of its vectors.

    vectors: [n, D], at every point. deviation: [n], of each by the posterior, the root of its mean variance over directions.
    amplitude, reach, noise: what maximised the marginal likelihood.
    """

    vectors: Values
    deviation: Values
    amplitude: float
    reach: float
    noise: float

    __repr__ = with_shapes


def tangent_field(space: TangentSpace, observed: NDArray[np.bool_], vectors: Values) -> TangentField:
    """The posterior mean of the field at every point, given its vectors at some.

    observed: [n], where the field is known. vectors: [n, D]; those elsewhere are not read, and of those known the part along the
    surface is. Raises ValueError for shapes that are not the points', and where nothing is observed, or nothing along the
    surface.
    """
    count, size = len(space.points), space.frames.shape[-1]
    if observed.shape != (count,) or vectors.shape != space.points.shape:
        raise ValueError(f"observed must be [{count}] and vectors {list(space.points.shape)}")
    if not observed.any() or not np.isfinite(vectors[observed]).all():
        raise ValueError("some vectors must be observed, and those must be finite")
    known = np.repeat(observed, size)
    values = space.coordinates(vectors)[observed].ravel()
    seen = space.modes[known]
    size_of = float(np.sqrt(np.mean(values**2)))
    if not size_of > 0:
        raise ValueError("the observed vectors have no part along the surface, so that no field can be fitted to them")

    def factored(amplitude: float, reach: float, noise: float) -> tuple[Values, bool]:
        """The Cholesky factor of the covariance of what was observed."""
        covariance = _covariance(seen, seen, space.eigenvalues, amplitude, reach)
        factor: tuple[Values, bool] = cho_factor(covariance + noise**2 * np.eye(len(values)), lower=True)
        return factor

    def lost(logs: Values) -> float:
        factor = factored(*np.exp(logs))
        return float(values @ cho_solve(factor, values) / 2 + np.log(np.diag(factor[0])).sum())

    start = np.log([size_of, 1.0, 0.1 * size_of])
    bounds = [(one - 7, one + 7) for one in start[:2]] + [(np.log(1e-4 * size_of), np.log(2 * size_of))]
    found = minimize(lost, start, method="L-BFGS-B", bounds=bounds)
    amplitude, reach, noise = np.exp(found.x)
    factor = factored(amplitude, reach, noise)
    across = _covariance(space.modes, seen, space.eigenvalues, amplitude, reach)
    mean = across @ cho_solve(factor, values)
    prior = (space.modes**2) @ _spectrum(space.eigenvalues, amplitude, reach)
    variance = np.clip(prior - np.einsum("ij,ji->i", across, cho_solve(factor, across.T)), 0, None)
    deviation = np.sqrt(variance.reshape(count, size).mean(1))
    return TangentField(space.vectors(mean.reshape(count, size)), deviation, float(amplitude), float(reach), float(noise))


def _spectrum(eigenvalues: Values, amplitude: float, reach: float) -> Values:
    """Scaled so that the prior's mean variance is the amplitude's square, whatever the reach."""
    shares = np.exp(-(eigenvalues - eigenvalues[0]) * reach**2 / 2)
    spectrum: Values = amplitude**2 * len(eigenvalues) * shares / shares.sum()
    return spectrum


def _covariance(first: Values, second: Values, eigenvalues: Values, amplitude: float, reach: float) -> Values:
    covariance: Values = (first * _spectrum(eigenvalues, amplitude, reach)) @ second.T
    return covariance
