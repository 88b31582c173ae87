"""Pseudospectra, numerical ranges and Kreiss constants against matrices for which they are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from statescope import Model, ModelConfig, Transition
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.pseudospectrum import (
    eigenvalue_conditions,
    kreiss_constant,
    least_singular_values,
    moved_block,
    numerical_range,
    pseudospectrum,
    pseudospectrum_of,
)
from statescope.probe.mixers import RWKV7, Attention, DeltaNet


def dense(matrix: Tensor) -> Transition:
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    return Transition(torch.zeros(len(matrix), dtype=matrix.dtype), matrix, identity)


def jordan(size: int, value: float = 0.0) -> Tensor:
    return torch.diag(torch.full((size,), value)).double() + torch.diag(torch.ones(size - 1), 1).double()


def test_a_normal_matrix_has_discs_and_the_hull_of_its_eigenvalues() -> None:
    values = torch.tensor([0.9, -0.5, 0.3 + 0.6j, 0.3 - 0.6j, -0.2j], dtype=torch.complex128)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))).Q
    matrix = turn @ torch.diag(values) @ turn.mH
    result = pseudospectrum_of(dense(matrix), levels=(-1.0,), points=241)
    curve = result.select(what="pseudospectrum").table
    points = (curve["real"] + 1j * curve["imaginary"]).to_numpy()
    distance = np.abs(points[:, None] - values.numpy()).min(1)
    np.testing.assert_allclose(distance, 0.1, atol=5e-3)
    boundary = result.select(what="numerical range").table[["real", "imaginary"]].to_numpy()
    plane = np.column_stack([values.numpy().real, values.numpy().imag])
    corners = plane[ConvexHull(plane).vertices]
    for point in boundary:  # each is a corner of the hull
        assert np.linalg.norm(corners - point, axis=1).min() < 1e-6
    assert result.about["kreiss"] == pytest.approx(1, abs=1e-3) and result.about["transient"] == 1
    assert result.about["departure"] < 1e-6 and result.table["condition"].max() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("size", [2, 5, 9])
def test_the_numerical_range_of_a_jordan_block_is_a_disc(size: int) -> None:
    """Of radius cos(pi / (N + 1)) around its eigenvalue (Haagerup and de la Harpe 1992)."""
    boundary = numerical_range(jordan(size, 0.25))
    np.testing.assert_allclose(np.abs(boundary - 0.25), math.cos(math.pi / (size + 1)), rtol=1e-9)


@pytest.mark.parametrize("beside", [None, 0.1, 4.0 - 3.0j])
def test_each_point_of_a_numerical_range_lies_furthest_along_its_angle(beside: complex | None) -> None:
    """Re(e^{-i w} z) is the largest eigenvalue of the Hermitian part of e^{-i w} A, with a scalar block beside it."""
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(3, 3, dtype=torch.complex128, generator=generator)
    whole = matrix if beside is None else torch.block_diag(matrix, beside * torch.eye(2, dtype=matrix.dtype))
    points = numerical_range(whole)
    for angle, point in zip(np.linspace(0, 2 * np.pi, len(points)), points, strict=True):
        turned = np.exp(-1j * angle) * whole
        furthest = torch.linalg.eigvalsh((turned + turned.mH) / 2)[-1]
        assert (np.exp(-1j * angle) * point).real == pytest.approx(float(furthest), abs=1e-12)


def test_a_jordan_block_is_worse_than_its_eigenvalues_say() -> None:
    """Near 0 the least singular value of z - J falls as |z|^N, far below the distance |z| to the eigenvalue."""
    found = least_singular_values(jordan(6), np.array([0.1, 0.2j]))
    np.testing.assert_allclose(found, [0.1**6, 0.2**6], rtol=0.1)
    assert np.isinf(eigenvalue_conditions(jordan(6))[1]).all()
    _, conditions = eigenvalue_conditions(torch.tensor([[1.0, 10.0], [0.0, 0.5]], dtype=torch.float64))
    np.testing.assert_allclose(conditions, math.sqrt(1 + 20**2), rtol=1e-12)  # 1 / |y.x| of a triangle


@pytest.mark.parametrize("size", [3, 6])
def test_kreiss_constant_lies_between_its_bounds(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    for _ in range(5):
        matrix = torch.randn(size, size, dtype=torch.float64, generator=generator).triu(1) * 2
        matrix += torch.diag(0.98 * (2 * torch.rand(size, dtype=torch.float64, generator=generator) - 1))
        constant, powers = kreiss_constant(matrix), torch.eye(size, dtype=torch.float64)
        largest = 1.0
        for _ in range(2000):
            powers = matrix @ powers
            largest = max(largest, float(torch.linalg.matrix_norm(powers, ord=2)))
        assert 1 - 1e-6 <= constant <= largest * (1 + 1e-9) and largest <= math.e * size * constant * 1.1
        # Distances to the eigenvalues in place of singular values, the wrong variant, say that nothing grows.
        values = torch.linalg.eigvals(matrix).numpy()
        places = 1.05 * np.exp(1j * np.linspace(0, 2 * np.pi, 90))
        assert (0.05 / np.abs(places[:, None] - values).min(1)).max() <= 1 + 1e-9 < constant
    assert kreiss_constant(torch.diag(torch.tensor([1.1, 0.2], dtype=torch.float64))) == math.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("what", ["nothing", "apart", "reflection", "shear", "several"])
def test_the_small_problem_is_the_whole_one(what: str, dtype: torch.dtype) -> None:
    """The scalar of the rest is in the small one: also where keys span one direction alone, and where A has no basis."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda rank: 0.5 * torch.randn(7, rank, dtype=dtype, generator=generator)  # noqa: E731
    first, axes = draw(1), torch.eye(7, dtype=dtype)
    left, right = {
        "nothing": (first[:, :0], first[:, :0]),
        "apart": (first, draw(1)),
        "reflection": (-2 * first / first.norm(), first.conj() / first.norm()),
        "shear": (axes[:, :1], axes[:, 1:2]),
        "several": (draw(3), draw(3)),
    }[what]
    transition = Transition(torch.tensor([0.8], dtype=dtype), left, right)
    block, whole = moved_block(transition), transition.dense()
    assert len(block) == max(1, 2 * left.shape[1]) and torch.equal(transition.double().dense(), whole)
    places = np.array([0.3 + 0.2j, -1.0, 0.8 + 1e-3j, 0.8])
    np.testing.assert_allclose(least_singular_values(block, places), least_singular_values(whole, places), rtol=1e-8, atol=1e-12)
    angles = np.exp(-1j * np.linspace(0, 2 * np.pi, 181))
    np.testing.assert_allclose(
        (angles * numerical_range(block)).real, (angles * numerical_range(whole)).real, rtol=1e-9, atol=1e-12
    )
    if what != "several":  # of which an eigenvalue lies outside the circle
        assert kreiss_constant(block) == pytest.approx(kreiss_constant(whole), rel=1e-8)
    result = pseudospectrum_of(transition, points=21)
    powers = [float(torch.linalg.matrix_norm(torch.linalg.matrix_power(whole, k), ord=2)) for k in range(201)]
    if max(powers) < 1e10:
        assert result.about["transient"] == pytest.approx(max(powers)) and result.about["size"] == 7
    assert result.about["radius"] == pytest.approx(float(torch.linalg.eigvals(whole).abs().max()), rel=1e-7)


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 5, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mixer", [DeltaNet(heads=2), RWKV7(heads=2)])
def test_of_a_window_of_a_model(mixer: Any) -> None:
    model = small(mixer)
    result = pseudospectrum(model, TOKENS, layer=1, head=1, sequence=1, position=2, window=3, points=31)
    transition = dict(transitions_of(model, TOKENS))[1].dense()[1, :, 1]
    product = transition[4] @ transition[3] @ transition[2]
    assert result.about["norm"] == pytest.approx(float(torch.linalg.matrix_norm(product, ord=2)), rel=1e-9)
    assert result.about["radius"] == pytest.approx(float(torch.linalg.eigvals(product).abs().max()), rel=1e-6)
    assert result.about["numerical_radius"] <= result.about["norm"] * (1 + 1e-9)
    assert "token 2 to 4" in result.summary() and len(result.specification().panels[0].marks) >= 3


def test_what_is_refused() -> None:
    model = small(DeltaNet(heads=2))
    for how, message in (
        ({"layer": 2}, "layer 2 has no linear transition; of these there are 0, 1"),
        ({"head": 2}, "must be within"),
        ({"position": 8, "window": 2}, "ends behind the 9 tokens"),
        ({"window": 0}, "window positive"),
    ):
        with pytest.raises(IndexError, match=message):
            pseudospectrum(model, TOKENS, **how)
    with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
        pseudospectrum(small(Attention(heads=2)), TOKENS)
    with pytest.raises(ValueError, match="points=1 of a grid must be at least 2"):
        pseudospectrum(model, TOKENS, points=1)
    with pytest.raises(ValueError, match="without batch dimensions"):
        pseudospectrum_of(Transition(torch.ones(2, 3), torch.zeros(2, 3, 0), torch.zeros(2, 3, 0)))


def test_a_scalar_decay_is_one_point() -> None:
    """What only decays, as in linear attention, moves no direction: its eigenvalue is all there is."""
    found = pseudospectrum_of(Transition(torch.tensor([0.7]), torch.zeros(5, 0), torch.zeros(5, 0)), points=41)
    about = found.about
    for name in ("radius", "numerical_radius", "norm"):
        assert about[name] == pytest.approx(0.7, rel=1e-6)
    assert about["departure"] == 0.0 and about["kreiss"] == pytest.approx(1.0) and about["transient"] == 1.0
    values = found.table[found.table["what"] == "eigenvalue"]
    assert values[["real", "imaginary", "condition"]].to_numpy() == pytest.approx(np.array([[0.7, 0.0, 1.0]]), rel=1e-6)
    circle = found.table[found.table["level"] == -1.0]
    np.testing.assert_allclose(np.hypot(circle["real"] - 0.7, circle["imaginary"]), 0.1, atol=0.02)
