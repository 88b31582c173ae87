"""Tangent frames, the connection between them, and fields found from some of their vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from statescope.analyses.geometry.tangent_fields import tangent_field, tangent_space

Values = NDArray[np.float64]


def plane(count: int = 90, seed: int = 0) -> tuple[Values, Values]:
    """Points of a plane in four dimensions, and its two directions."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(4, 2)))[0].T
    return random.random((count, 2)) @ axes, axes


def test_frames_span_the_surface() -> None:
    points, axes = plane()
    frames = tangent_space(points, 2).frames
    np.testing.assert_allclose(frames.swapaxes(1, 2) @ frames, np.broadcast_to(np.eye(2), (90, 2, 2)), atol=1e-12)
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(axes.T @ axes, (90, 4, 4)), atol=1e-9)


def test_on_a_plane_constant_fields_are_the_smoothest() -> None:
    """The connection of a plane is flat: whatever the frames, two modes have eigenvalue 0, and they are the constant fields."""
    points, axes = plane()
    space = tangent_space(points, 2)
    assert space.eigenvalues[1] < 1e-9 < 1e-2 < space.eigenvalues[2]
    constant = np.stack([space.coordinates(np.broadcast_to(axis, points.shape)).ravel() for axis in axes], 1) / len(points) ** 0.5
    np.testing.assert_allclose(np.linalg.svd(space.modes[:, :2].T @ constant)[1], 1, atol=1e-9)


def test_a_sphere_has_no_constant_field() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert tangent_space(points, 2, neighbours=8).eigenvalues[0] > 1e-2


def test_modes_are_those_of_the_quadratic_form() -> None:
    """<u, L u> is the sum over neighbours of |u_i - O_ij u_j|^2, with O_ij the nearest orthogonal matrix to E_i^T E_j."""
    points, _ = plane(30)
    space = tangent_space(points, 2, neighbours=5)
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    near = np.argsort(distance, 1)[:, 1:6]
    edges = {frozenset((i, int(j))) for i in range(30) for j in near[i]}
    u = np.random.default_rng(1).normal(size=(30, 2))
    total = 0.0
    for i, j in map(tuple, edges):
        left, _, right = np.linalg.svd(space.frames[i].T @ space.frames[j])
        total += float(((u[i] - left @ right @ u[j]) ** 2).sum())
    own = space.modes.T @ u.ravel()
    assert float((space.eigenvalues * own**2).sum()) == pytest.approx(total, rel=1e-9)


def test_hidden_vectors_are_found() -> None:
    points, axes = plane(150)
    within = points @ axes.T
    truth = np.stack([np.sin(3 * within[:, 1]), np.cos(2 * within[:, 0])], 1) @ axes
    shown = np.random.default_rng(2).random(150) < 0.5
    found = tangent_field(tangent_space(points, 2), shown, np.where(shown[:, None], truth, np.nan))
    error = np.linalg.norm(found.vectors - truth, axis=1)
    assert error[~shown].mean() < 0.1 * np.linalg.norm(truth, axis=1).mean()
    assert np.abs(found.vectors - found.vectors @ axes.T @ axes).max() < 1e-9, "along the surface"
    assert found.deviation[~shown].mean() > found.deviation[shown].mean() > 0


def test_bad_input() -> None:
    points, _ = plane()
    with pytest.raises(ValueError, match="points must be finite"):
        tangent_space(points * np.nan, 2)
    with pytest.raises(ValueError, match="dimension must be from 1 to the space's 4, got 5"):
        tangent_space(points, 5)
    with pytest.raises(ValueError, match="neighbours must be from dimension"):
        tangent_space(points, 2, neighbours=90)
    space = tangent_space(points, 2)
    with pytest.raises(ValueError, match="some vectors must be observed"):
        tangent_field(space, np.zeros(90, dtype=bool), points)
    with pytest.raises(ValueError, match=r"observed must be \[90\]"):
        tangent_field(space, np.ones(3, dtype=bool), points)


def test_a_point_that_is_there_twice_is_not_its_own_neighbour() -> None:
    """A ring is flat: its smoothest field is of eigenvalue 0, however often some of its points were met."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([np.cos(turns), np.sin(turns)], 1)
    assert tangent_space(np.concatenate([ring, ring[:5], ring[:5]]), 1, neighbours=4).eigenvalues[0] < 1e-9
    with pytest.raises(ValueError, match="fewer than 1 directions"):
        tangent_space(np.concatenate([ring, *[ring[:1]] * 6]), 1, neighbours=4)


def test_a_field_of_nothing_is_refused() -> None:
    points, _ = plane()
    with pytest.raises(ValueError, match="no part along the surface"):
        tangent_field(tangent_space(points, 2), np.ones(90, dtype=bool), np.zeros_like(points))
