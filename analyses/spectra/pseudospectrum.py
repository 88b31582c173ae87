"""How far a transition is from normal: its pseudospectrum, numerical range, and the growth that its eigenvalues do not tell.

    pseudospectrum      {z: s_min(z - A) <= e}, the eigenvalues of all A + E with |E|_2 <= e (Trefethen and Embree 2005)
    numerical range     {x^* A x: |x| = 1}, convex; that of a normal matrix is the hull of its eigenvalues
    condition           1 / |y^* x| of an eigenvalue with unit left and right eigenvectors y, x, the norm of its projector; 1 for
                        a normal matrix
    departure           sqrt(|A|_F^2 - sum |lambda|^2) (Henrici 1962)
    Kreiss constant     sup_{|z| > 1} (|z| - 1) / s_min(z - A) = C, with C <= sup_k |A^k|_2 <= e K C (Spijker 1991)

A product whose eigenvalues lie inside the unit circle may grow by the Kreiss constant before it decays. Where A is d + L R^T with
a scalar d, all but the span of [L, conj R] is d times the identity, and the rest is a problem of twice the rank, which tells all:
half of its directions are taken to 0 by R^T, so that d is one of its eigenvalues too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.linalg
import torch
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ...kernels.operators.transition import Transition
from ..models import transitions_of
from .results.pseudospectrum import EIGENVALUE, LEVEL, POWERS, RANGE, Pseudospectrum

if TYPE_CHECKING:
    from ...probe.models.hooked import HookedModel

LEVELS = (-3.0, -2.5, -2.0, -1.5, -1.0, -0.5)
ANGLES = 180  # of the numerical range and of circles around the origin
EQUAL = 1e-9  # beside the norm: eigenvalues so near are one
VANISHING = 1e-14  # cosine of a left and a right eigenvector: rounding
RADII = np.concatenate([[1e-6, 1e-4], np.geomspace(1e-3, 3.0, 60)])  # beyond 1, at which the Kreiss constant is looked for


def pseudospectrum(
    model: HookedModel,
    tokens: Tensor,
    *,
    layer: int = 0,
    head: int = 0,
    sequence: int = 0,
    position: int = 0,
    window: int = 1,
    levels: Sequence[float] = LEVELS,
    points: int = 101,
) -> Pseudospectrum:
    """The pseudospectrum of one head's transition at a token, or of the product over a window that begins there, in float64.

    tokens: [B, T]. levels: log10 of e. points: of the grid along each axis.

    Raises ValueError for a model without linear transitions, and IndexError for a layer, head, sequence or window that there is
    not.
    """
    found = dict(transitions_of(model, tokens))
    if layer not in found:
        raise IndexError(f"layer {layer} has no linear transition; of these there are {', '.join(map(str, found))}")
    shape = found[layer].shape[:3]
    wanted = (sequence, position + window - 1, head)
    if window < 1 or not all(0 <= index < size for index, size in zip((sequence, position, head), shape, strict=True)):
        raise IndexError(
            f"sequence {sequence}, position {position}, head {head} must be within {list(shape)}, and window positive"
        )
    if wanted[1] >= shape[1]:
        raise IndexError(f"a window of {window} from position {position} ends behind the {shape[1]} tokens")
    product = found[layer][sequence, position, head]
    for later in range(position + 1, position + window):
        product = found[layer][sequence, later, head].compose(product)
    end = f" to {position + window - 1}" if window > 1 else ""
    where = f"layer {layer}, head {head}, sequence {sequence}, token {position}{end}"
    return pseudospectrum_of(product, levels=levels, points=points, where=where)


def pseudospectrum_of(
    transition: Transition, *, levels: Sequence[float] = LEVELS, points: int = 101, where: str = "transition"
) -> Pseudospectrum:
    """The pseudospectrum of one transition without batch dimensions; see `pseudospectrum`."""
    if transition.left.ndim != 2:
        raise ValueError(f"one transition is needed, without batch dimensions; this is of {list(transition.shape[:-2])}")
    if points < 2:
        raise ValueError(f"points={points} of a grid must be at least 2 along each axis")
    matrix = moved_block(transition.double())
    values, conditions = eigenvalue_conditions(matrix)
    boundary = numerical_range(matrix)
    rows: list[tuple[Any, ...]] = [
        (EIGENVALUE, np.nan, 0, value.real, value.imag, condition) for value, condition in zip(values, conditions, strict=True)
    ]
    rows += [(RANGE, np.nan, 0, point.real, point.imag, np.nan) for point in boundary]
    reach = 1.05 * max(1.0, float(np.abs(boundary).max()) + 10.0 ** max(levels, default=-1.0))
    axis = np.linspace(-reach, reach, points)
    least = least_singular_values(matrix, (axis[None, :] + 1j * axis[:, None]).ravel()).reshape(points, points)
    curves = contour_generator(x=axis, y=axis, z=np.log10(np.maximum(least, 1e-300)))
    for level in levels:
        for piece, curve in enumerate(curves.lines(level)):
            rows += [(LEVEL, level, piece, real, imaginary, np.nan) for real, imaginary in np.asarray(curve).tolist()]
    spread = float(matrix.abs().square().sum() - np.square(np.abs(values)).sum())
    about = {
        "where": where,
        "size": transition.size,
        "radius": float(np.abs(values).max()),
        "numerical_radius": float(np.abs(boundary).max()),
        "norm": float(transition.norm()),
        "departure": math.sqrt(max(spread, 0.0)),
        "kreiss": kreiss_constant(matrix),
        "transient": max(_power_norms(matrix)),
    }
    return Pseudospectrum(pd.DataFrame(rows, columns=list(Pseudospectrum.columns)), about)


def moved_block(transition: Transition) -> Tensor:
    """The least matrix that has the spectra of A: A on the span that its low rank moves where it is a scalar elsewhere, the
    scalar alone where nothing moves, or all of A.
    """
    if not transition.is_scalar or 2 * transition.rank >= transition.size:
        return transition.dense()
    scalar = transition.diagonal
    if not transition.rank:
        return scalar.reshape(1, 1)
    basis = torch.linalg.qr(torch.cat([transition.left, transition.right.conj()], dim=-1)).Q
    block: Tensor = basis.mH @ transition.left @ (transition.right.mT @ basis)
    return block + scalar * torch.eye(basis.shape[-1], dtype=basis.dtype)


def eigenvalue_conditions(matrix: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """The eigenvalues of a matrix and their conditions; inf for one with too few eigenvectors, as of a Jordan block.

    A repeated eigenvalue has any basis of its eigenvectors, which says nothing: its condition is the norm of its projector, 1 of
    a normal matrix, as |y| |x| / |y^* x| is that of a simple one.
    """
    scale = float(torch.linalg.matrix_norm(matrix, ord=2)) or 1.0
    own = matrix.numpy() / scale  # LAPACK's scaling loses entries near 1e-200
    values, left, right = scipy.linalg.eig(own, left=True)
    overlaps = np.abs((left.conj() * right).sum(0))
    count, cluster = connected_components(np.abs(values[:, None] - values) <= EQUAL)
    for same in (cluster == number for number in range(count)):
        x, y = (np.linalg.qr(vectors[:, same])[0] for vectors in (right, left))
        within = x.conj().T @ own @ x
        if np.linalg.norm(within - values[same].mean() * np.eye(len(within)), 2) <= EQUAL:  # one eigenvalue, and all its vectors
            overlaps[same] = np.linalg.svd(y.conj().T @ x, compute_uv=False)[-1]
    return values * scale, np.divide(1, overlaps, out=np.full(len(values), np.inf), where=overlaps > VANISHING)


def numerical_range(matrix: Tensor) -> NDArray[Any]:
    """Points on the boundary of the numerical range, one for each of 181 angles, closed (Johnson 1978)."""
    angles = torch.linspace(0, 2 * math.pi, ANGLES + 1, dtype=torch.float64)
    kind = matrix.dtype.to_complex()
    turned = torch.exp(-1j * angles.to(kind))[:, None, None] * matrix.to(kind)
    top = torch.linalg.eigh((turned + turned.mH) / 2).eigenvectors[..., -1]
    points: NDArray[Any] = torch.einsum("ai,ij,aj->a", top.conj(), matrix.to(kind), top).numpy()
    return points


def least_singular_values(matrix: Tensor, places: NDArray[Any]) -> NDArray[Any]:
    """s_min(z - A) at each z of [n]."""
    kind = matrix.dtype.to_complex()
    identity = torch.eye(matrix.shape[-1], dtype=kind)
    found = [np.empty(0)]
    for some in np.array_split(places, max(1, len(places) // 1024)):
        shifted = torch.from_numpy(np.asarray(some, complex))[:, None, None] * identity - matrix.to(kind)
        found.append(torch.linalg.svdvals(shifted)[:, -1].numpy())
    return np.concatenate(found)


def kreiss_constant(matrix: Tensor) -> float:
    """A lower bound of the Kreiss constant, from circles around the origin; 1 is that of a circle at infinity.

    It is inf where an eigenvalue lies outside the unit circle.
    """
    if float(torch.linalg.eigvals(matrix).abs().max()) > 1 + 1e-9:
        return math.inf
    turns = np.exp(2j * np.pi * np.arange(ANGLES) / ANGLES)
    places = ((1 + RADII)[:, None] * turns).ravel()
    gaps = np.repeat(RADII, ANGLES)
    return max(1.0, float((gaps / least_singular_values(matrix, places)).max()))


def _power_norms(matrix: Tensor) -> list[float]:
    """|A^k|_2 for k = 0 .. 200, as far as it is finite."""
    power, norms = torch.eye(matrix.shape[-1], dtype=matrix.dtype), [1.0]
    for _ in range(POWERS):
        power = matrix @ power
        norms.append(float(torch.linalg.matrix_norm(power, ord=2)))
        if not math.isfinite(norms[-1]) or norms[-1] > 1e150:
            break
    return norms
