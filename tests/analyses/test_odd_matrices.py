"""Spectra, products, Gramians and capacities at sizes 1 and 2, of zero, defective, repeated and complex matrices, by numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from statescope import Transition
from statescope.analyses.geometry.recall_capacity import recall_capacity
from statescope.analyses.geometry.write_rule import WriteRule
from statescope.analyses.spectra.lasting_directions import directions_of
from statescope.analyses.spectra.pseudospectrum import eigenvalue_conditions, pseudospectrum_of
from statescope.analyses.spectra.stability import joint_spectral_radius
from statescope.analyses.spectra.window_spectrum import product_eigenvalues
from statescope.kernels.operators.linear_system import LinearSystem, UnstableSystemError
from statescope.kernels.products import lyapunov_exponents

GENERATOR = torch.Generator().manual_seed(0)
SQUARE = torch.randn(4, 4, dtype=torch.float64, generator=GENERATOR)
TURN = torch.linalg.qr(SQUARE).Q
KEY = torch.nn.functional.normalize(torch.randn(5, 1, dtype=torch.float64, generator=GENERATOR), dim=0)


def real(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def jordan(size: int, value: complex) -> Tensor:
    return torch.diag(torch.full((size,), value)).to(
        torch.complex128 if isinstance(value, complex) else torch.float64
    ) + torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)


PRODUCTS = {
    "size 1": real(0.5, -2, 0.1).reshape(3, 1, 1),
    "a zero": real(0).reshape(1, 1, 1),
    "zeros": torch.zeros(2, 3, 3, dtype=torch.float64),
    "singular, then a turn": torch.stack([real([1, 0], [0, 0]), real([0.6, -0.8], [0.8, 0.6])]),
    "Jordan": jordan(4, 0.9).expand(7, 4, 4),
    "complex Jordan": jordan(3, 0.5 + 0.5j).expand(4, 3, 3),
    "repeated": (TURN @ torch.diag(real(0.5, 0.5, 0.5, -0.5)) @ TURN.T).expand(3, 4, 4),
    "nilpotent": jordan(3, 0.0).expand(5, 3, 3),
    "reflection": (torch.eye(5, dtype=torch.float64) - 2 * KEY @ KEY.T).expand(3, 5, 5),
    "complex": torch.randn(5, 2, 2, dtype=torch.complex128, generator=GENERATOR),
}
products = pytest.mark.parametrize("name", PRODUCTS)


def dense(matrices: Tensor) -> Transition:
    """As transitions of full rank, 0 + A I^T."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype).expand(matrices.shape)
    return Transition(torch.zeros_like(matrices[..., 0]), matrices, identity)


def product_of(name: str) -> np.ndarray:
    """A_W ... A_1"""
    found = np.eye(PRODUCTS[name].shape[-1])
    for matrix in PRODUCTS[name].numpy():
        found = matrix @ found
    return found


def logs(sizes: np.ndarray) -> np.ndarray:
    """Sorted logarithms; of what is 0 to rounding -inf."""
    return np.sort(np.log(sizes, out=np.full(sizes.shape, -np.inf), where=sizes > 1e-12))


@products
def test_eigenvalues_of_a_product(name: str) -> None:
    found, angles, resolved = product_eigenvalues(dense(PRODUCTS[name]), axis=0)
    exact = np.linalg.eigvals(product_of(name))
    np.testing.assert_allclose(np.sort(found.numpy()), logs(np.abs(exact)), atol=1e-9)
    values = (found.exp() * torch.exp(1j * angles)).numpy()
    assert max(np.abs(exact - value).min() for value in values) < 1e-9 and resolved.tolist() == (found > -100).tolist()


def test_a_product_far_below_the_least_float_keeps_its_eigenvalues() -> None:
    """Six tokens of 1e-200 each: already two of them are 0 in float64."""
    found, _, resolved = product_eigenvalues(dense(1e-200 * jordan(2, 1.0).expand(6, 2, 2)), axis=0)
    assert resolved.all() and found.tolist() == pytest.approx([6 * math.log(1e-200)] * 2)


@products
def test_singular_values_and_directions_of_a_product(name: str) -> None:
    found, after, before = directions_of(dense(PRODUCTS[name]), axis=0)
    exact = product_of(name)
    np.testing.assert_allclose(np.sort(found.numpy()), logs(np.linalg.svd(exact, compute_uv=False)), atol=1e-9)
    again = after.numpy() @ np.diag(np.exp(found.numpy())) @ before.mH.resolve_conj().numpy()
    np.testing.assert_allclose(again, exact, atol=1e-12 * max(1, np.abs(exact).max()))


@products
def test_exponents_of_a_product(name: str) -> None:
    """So many are finite as the product has ranks; where all are, their sum is the mean log-determinant."""
    found = lyapunov_exponents(dense(PRODUCTS[name])).numpy()
    assert np.isfinite(found).sum() == np.linalg.matrix_rank(product_of(name)) and (np.diff(found[np.isfinite(found)]) <= 0).all()
    if np.isfinite(found).all():
        assert found.sum() == pytest.approx(np.linalg.slogdet(PRODUCTS[name].numpy())[1].mean(), abs=1e-12)


@products
def test_what_a_pseudospectrum_says_of_one_matrix(name: str) -> None:
    matrix = PRODUCTS[name][-1]
    own = matrix.numpy()
    about = pseudospectrum_of(dense(matrix), points=11).about
    exact = np.linalg.eigvals(own)
    assert about["radius"] == pytest.approx(np.abs(exact).max()) and about["norm"] == pytest.approx(np.linalg.norm(own, 2))
    turned = np.exp(-1j * np.linspace(0, 2 * np.pi, 3601))[:, None, None] * own
    widest = np.linalg.eigvalsh((turned + turned.conj().swapaxes(1, 2)) / 2).max()
    assert about["numerical_radius"] == pytest.approx(widest, rel=1e-4)
    departure = max(0.0, np.square(np.abs(own)).sum() - np.square(np.abs(exact)).sum())
    assert about["departure"] ** 2 == pytest.approx(departure, abs=1e-12)
    if np.abs(exact).max() < 1:
        powers = [np.linalg.norm(np.linalg.matrix_power(own, k), 2) for k in range(201)]
        assert about["transient"] == pytest.approx(max(powers)) and 1 <= about["kreiss"] <= max(powers) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["size 1", "a zero", "zeros", "repeated", "reflection"])
def test_each_condition_of_a_normal_matrix_is_1(name: str) -> None:
    """Also of a repeated eigenvalue, whose eigenvectors are any basis, and seldom an orthogonal one."""
    assert eigenvalue_conditions(PRODUCTS[name][0])[1] == pytest.approx(1)


def test_conditions_of_eigenvalues_that_are_repeated() -> None:
    spread = torch.diag(real(2, 2, -1, -1))
    oblique = SQUARE @ spread @ torch.linalg.inv(SQUARE)
    values, found = eigenvalue_conditions(oblique)
    projector = (oblique.numpy() + np.eye(4)) / 3  # onto the eigenvectors of 2, along those of -1
    assert sorted(values.real) == pytest.approx([-1, -1, 2, 2]) and found == pytest.approx(np.linalg.norm(projector, 2))
    values, found = eigenvalue_conditions(torch.block_diag(jordan(2, 1.0), real([5])))
    assert np.isinf(found[values.real < 2]).all() and found[values.real > 2] == pytest.approx(1)
    for name in ("Jordan", "complex Jordan", "nilpotent"):
        assert np.isinf(eigenvalue_conditions(PRODUCTS[name][0])[1]).all()
    assert eigenvalue_conditions(real([1, 1], [0, 1 + 1e-10]))[1] == pytest.approx(1e10, rel=1e-3)  # two, and hardly apart
    values, found = eigenvalue_conditions(1e-200 * jordan(2, 1.0))
    assert values == pytest.approx(1e-200, rel=1e-12, abs=0) and np.isinf(found).all()


GOLDEN = (1 + math.sqrt(5)) / 2
SETS = {
    "size 1": (real([[0.5]], [[-2]], [[0]]), 2.0),
    "zeros": (torch.zeros(2, 3, 3, dtype=torch.float64), 0.0),
    "one up and one down": (torch.stack([real([0, 1], [0, 0]), real([0, 0], [1, 0])]), 1.0),  # each alone is nilpotent
    "golden": (torch.stack([real([1, 1], [0, 1]), real([1, 0], [1, 1])]), GOLDEN),
    "complex": (torch.stack([0.5j * torch.eye(2, dtype=torch.float64), torch.diag(real(0.9, 0.1)) * 1j]), 0.9),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("longest", [1, 2, 3])
def test_bounds_of_the_joint_spectral_radius(name: str, longest: int) -> None:
    matrices, exact = SETS[name]
    low, high, witness = joint_spectral_radius(matrices, longest)
    radii, norms = [], []
    for length in range(1, longest + 1):
        each = [
            np.linalg.multi_dot([*own, np.eye(matrices.shape[-1])]) for own in itertools.product(matrices.numpy(), repeat=length)
        ]
        radii.append(max(np.abs(np.linalg.eigvals(one)).max() for one in each) ** (1 / length))
        norms.append(max(np.linalg.norm(one, 2) for one in each) ** (1 / length))
    assert low == pytest.approx(max(radii), abs=1e-12) and high == pytest.approx(min(norms), abs=1e-12)
    assert low - 1e-12 <= exact <= high + 1e-12 and (low == pytest.approx(exact) or longest == 1)
    grown = np.eye(matrices.shape[-1])
    for index in witness:
        grown = matrices[index].numpy() @ grown
    assert np.abs(np.linalg.eigvals(grown)).max() ** (1 / len(witness)) == pytest.approx(low, abs=1e-12)


SYSTEMS = {
    "size 1": (real([0.5]), real([2, -1]), real([3])),
    "a zero": (real([0]), real([2]), real([3])),
    "Jordan": (jordan(3, 0.97), real([0], [0], [1]), real([1, 0, 0])),
    "nilpotent": (jordan(4, 0.0), real([0, 1], [0, 0], [1, 0], [0, 1]), real([1, 0, 2, 0])),
    "repeated": (torch.diag(real(0.8, 0.8, -0.8)), real([1], [2], [3]), real([1, 1, 1], [0, 1, 0])),
    "nothing enters": (jordan(2, 0.5), torch.zeros(2, 1, dtype=torch.float64), real([1, 1])),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_gramians(name: str) -> None:
    a, b, c = SYSTEMS[name]
    system = LinearSystem(a[None], b[None], c[None])
    p = scipy.linalg.solve_discrete_lyapunov(a.numpy(), (b @ b.T).numpy())
    q = scipy.linalg.solve_discrete_lyapunov(a.numpy().T, (c.T @ c).numpy())
    np.testing.assert_allclose(system.controllability()[0], p, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(system.observability()[0], q, rtol=1e-9, atol=1e-12)
    found = np.zeros(len(a))
    found[: system.hankel_singular_values().shape[-1]] = system.hankel_singular_values()[0]
    answers = system.impulse_response(1200)[0].numpy()  # P Q is that of the Hankel matrix of what an impulse leaves behind
    least, largest = (np.square(found).sum(), np.einsum("tpm,t->", answers**2, np.arange(1.0, 1201)))
    assert least == pytest.approx(largest, rel=1e-9, abs=1e-12)


def test_a_pole_on_the_circle_has_no_gramian() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    for pole in (1.0, -1.0):
        with pytest.raises(UnstableSystemError):
            LinearSystem(pole * one, one, one).controllability()


def test_keys_of_one_channel_recall_one_pair() -> None:
    """They are 1 or -1: each further pair adds its own squared length, 1 on average, to what an additive state gives back."""
    table = recall_capacity({"additive": WriteRule()}, (1, 2, 5), key_size=1, value_size=1, states=4000).table
    orthonormal, random = (table[table["keys"] == kind].set_index("pairs") for kind in ("orthonormal", "random"))
    assert orthonormal.index.tolist() == [1] and orthonormal["error"].max() < 1e-24
    for count, row in random.iterrows():
        assert row["expected"] == pytest.approx(count - 1)
        assert row["error"] == pytest.approx(count - 1, abs=4 * (row["high"] - row["low"]) / 2 + 1e-12)
