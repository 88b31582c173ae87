"""Algorithms on operators against dense linear algebra in float64, and how they fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope.analyses.operators.density import spectral_density
from statescope.analyses.operators.estimators import hutch_plus_plus_trace, hutchinson_diagonal, hutchinson_trace
from statescope.analyses.operators.krylov import Krylov
from statescope.analyses.operators.lanczos import lanczos, top_eigenpairs
from statescope.analyses.operators.nystrom import NotPositiveError, conjugate_gradients, nystrom
from statescope.kernels.arguments import NonFiniteError
from statescope.kernels.operators.dense import DenseOperator


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_spectrum(values: Tensor, seed: int = 0) -> DenseOperator:
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator(seed), dtype=torch.float64)).Q
    return DenseOperator((basis * values) @ basis.mT, self_adjoint=True)


def spiked() -> DenseOperator:
    """A Wishart matrix of 1000 dimensions and 2000 samples, and 30, 20 and 10 in three directions more."""
    x = torch.randn(1000, 2000, generator=generator(3), dtype=torch.float64)
    spikes = torch.linalg.qr(torch.randn(1000, 3, generator=generator(4), dtype=torch.float64)).Q
    raised = (spikes * torch.tensor([30.0, 20.0, 10.0], dtype=torch.float64)) @ spikes.mT
    return DenseOperator(x @ x.mT / 2000 + raised, self_adjoint=True)


def test_lanczos_factorises_the_operator() -> None:
    operator = with_spectrum(torch.linspace(-1, 3, 50, dtype=torch.float64))
    found = lanczos(operator, 20, torch.randn(50, generator=generator(), dtype=torch.float64))
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(20, dtype=torch.float64), rtol=0, atol=1e-12)
    middle = found.basis.mT @ operator.matrix @ found.basis
    expected = torch.diag(found.diagonal) + torch.diag(found.off_diagonal, 1) + torch.diag(found.off_diagonal, -1)
    torch.testing.assert_close(middle, expected, rtol=0, atol=1e-12)
    rest = operator.matrix @ found.basis - found.basis @ expected
    assert float(rest[:, :-1].norm()) < 1e-12
    assert float(rest[:, -1].norm()) == pytest.approx(found.residual, rel=1e-9)


def test_without_reorthogonalisation_ghosts_appear() -> None:
    operator, start = spiked(), torch.randn(1000, generator=generator(), dtype=torch.float64)
    tops, copies, off_orthonormal = torch.linalg.eigvalsh(operator.matrix)[-3:], {}, {}
    for careful in (True, False):
        found = lanczos(operator, 150, start, reorthogonalise=careful)
        off = torch.diag(found.off_diagonal, 1)
        values = torch.linalg.eigvalsh(torch.diag(found.diagonal) + off + off.mT)
        copies[careful] = ((values[:, None] - tops).abs() < 1e-9).sum(0).tolist()
        off_orthonormal[careful] = float((found.basis.mT @ found.basis - torch.eye(150)).abs().max())
    assert copies[True] == [1, 1, 1] and off_orthonormal[True] < 1e-14
    assert min(copies[False]) > 1 and off_orthonormal[False] > 0.5


@pytest.mark.parametrize("count", [1, 5, 20])
def test_top_eigenpairs_are_those_of_the_matrix(count: int) -> None:
    values = torch.exp(-torch.arange(300, dtype=torch.float64) / 20)
    found = top_eigenpairs(with_spectrum(values), count, generator())
    torch.testing.assert_close(found.values, values[:count], rtol=1e-10, atol=0)
    assert float(found.residuals.max()) < 1e-7
    assert found.applications < 300
    torch.testing.assert_close(found.vectors.mT @ found.vectors, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-9)


class Counted(DenseOperator):
    """How many vectors, and in how many blocks, an operator was applied to."""

    vectors, blocks = 0, 0

    def matmat(self, x: Tensor) -> Tensor:
        self.vectors, self.blocks = self.vectors + x.shape[-1], self.blocks + 1
        return super().matmat(x)


@pytest.mark.parametrize("block", [1, 4, 7])
def test_nothing_is_multiplied_twice(block: int) -> None:
    """The basis is kept while it grows: products are those of its vectors, and one block more to measure the residuals."""
    values = torch.exp(-torch.arange(300, dtype=torch.float64) / 20)
    operator = Counted(with_spectrum(values).matrix, self_adjoint=True)
    found = top_eigenpairs(operator, 6, generator(), block=block)
    torch.testing.assert_close(found.values, values[:6], rtol=1e-10, atol=0)
    torch.testing.assert_close(found.vectors.mT @ found.vectors, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)
    assert float(found.residuals.max()) < 1e-7
    assert operator.vectors == found.applications
    assert operator.blocks == (found.applications - 6) / block + 1
    assert found.applications < (60 if block == 1 else 40 + 30 * block)


@pytest.mark.parametrize("block", [1, 3])
def test_each_pair_lies_within_its_residual(block: int) -> None:
    """|A v - l v| <= r puts an eigenvalue within r of l, for pairs that are far from converged too."""
    values = torch.rand(200, generator=generator(), dtype=torch.float64)
    operator = with_spectrum(values)
    krylov = Krylov(operator, torch.randn(200, block, generator=generator(), dtype=torch.float64))
    for _ in range(12 // block):
        krylov.grow()
    basis, inside = krylov.basis, krylov.matrix
    torch.testing.assert_close(basis.mT @ basis, torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.mT @ operator.matrix @ basis, inside, rtol=0, atol=1e-12)
    found, turned = torch.linalg.eigh(inside)
    estimates = (krylov.coupling @ turned[-block:]).norm(dim=0)
    vectors = basis @ turned
    torch.testing.assert_close(estimates, (operator.matrix @ vectors - vectors * found).norm(dim=0), rtol=1e-8, atol=1e-12)
    assert ((found[:, None] - values).abs().amin(1) <= estimates + 1e-12).all()
    assert not ((found[:, None] - values).abs().amin(1) <= 0.01 * estimates).all()


def test_a_block_finds_what_is_multiple() -> None:
    values = torch.cat([torch.tensor([5.0, 5.0, 5.0, 4.0]), torch.linspace(0, 1, 60)]).double()
    single, triple = (top_eigenpairs(with_spectrum(values), 2, generator(), block=block) for block in (1, 3))
    torch.testing.assert_close(triple.values, values[:2], rtol=1e-9, atol=0)
    assert float(single.values[1]) == pytest.approx(4.0)
    everything = top_eigenpairs(with_spectrum(values), 64, generator(), block=5)
    torch.testing.assert_close(everything.values, values.sort(descending=True).values, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="block=65 must lie between 1 and 64"):
        top_eigenpairs(with_spectrum(values), 4, generator(), block=65)
    with pytest.raises(ValueError, match="independent"):
        Krylov(with_spectrum(values), torch.ones(64, 2, dtype=torch.float64))


def test_a_column_that_has_all_but_converged_leaves_the_basis_orthonormal() -> None:
    """What is left of it is rounding of the other: its direction has to be made orthogonal again once it is a unit long."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    start[:, 0] = 1e-9 * start[:, 0] + torch.eye(40, dtype=torch.float64)[0]
    matrix = torch.diag(torch.linspace(1, 40, 40, dtype=torch.float64).flip(0))
    krylov = Krylov(DenseOperator(matrix, self_adjoint=True), start)
    for _ in range(6):
        krylov.grow()
    basis = krylov.basis
    eye = torch.eye(krylov.applied, dtype=torch.float64)
    torch.testing.assert_close(basis.T @ basis, eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.T @ matrix @ basis, krylov.matrix, rtol=0, atol=1e-11)


@pytest.mark.parametrize("block", [1, 2])
def test_a_complex_operator_is_the_same_within_its_basis(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(12, 12, generator=generator, dtype=torch.complex128)
    matrix = drawn + drawn.mH
    krylov = Krylov(DenseOperator(matrix, self_adjoint=True), torch.randn(12, block, generator=generator, dtype=torch.complex128))
    for _ in range(4):
        krylov.grow()
    within = krylov.basis.mH @ matrix @ krylov.basis
    assert float(within.imag.abs().max()) > 0.1 or block == 1
    torch.testing.assert_close(krylov.matrix, within, rtol=0, atol=1e-12)
    found = top_eigenpairs(DenseOperator(matrix, self_adjoint=True), 3, generator, block=block)
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(matrix).flip(0)[:3], rtol=1e-10, atol=0)


def test_a_space_that_ends_early_is_no_error() -> None:
    found = top_eigenpairs(with_spectrum(torch.cat([torch.ones(30), 2 * torch.ones(10)]).double()), 12, generator())
    torch.testing.assert_close(found.values, torch.tensor([2.0] * 10 + [1.0] * 2).double())


@pytest.mark.parametrize("block", [1, 3])
def test_as_many_pairs_as_are_asked_for_come_whatever_the_rank(block: int) -> None:
    """A kernel of rank 3 has zeros besides, and one of a single number has it as often as there are samples."""
    for values in (torch.tensor([5.0, 3.0, 2.0]), torch.full((40,), 2.0), torch.tensor([4.0, 4.0, 4.0, -1.0]), torch.zeros(1)):
        whole = torch.cat([values.double(), torch.zeros(40 - len(values), dtype=torch.float64)])
        operator = with_spectrum(whole)
        found = top_eigenpairs(operator, 7, generator(), block=block)
        torch.testing.assert_close(found.values, whole.sort(descending=True).values[:7], rtol=0, atol=1e-9)
        torch.testing.assert_close(found.vectors.mT @ found.vectors, torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-9)
        assert float(found.residuals.max()) < 1e-8
    known = top_eigenpairs(with_spectrum(torch.cat([torch.ones(3), torch.zeros(397)]).double()), 9, generator(), block=block)
    assert known.applications < 40  # and not all directions of what is zero


@pytest.mark.parametrize("block", [1, 2])
def test_an_eigenvalue_shows_as_often_as_it_is_multiple_where_bases_are_exhausted(block: int) -> None:
    """A later basis held several that lacked, and gave its largest alone; the others were not looked for again."""
    values = torch.tensor([3.0] * 5 + [2.0] * 3 + [-1.0] * 2 + [0.0] * 20, dtype=torch.float64)
    for seed in range(8):
        operator = with_spectrum(values)
        found = top_eigenpairs(operator, 12, torch.Generator().manual_seed(seed), block=block)
        torch.testing.assert_close(found.values, values.sort(descending=True).values[:12], rtol=0, atol=1e-9)
        left = (operator.matmat(found.vectors) - found.vectors * found.values).norm(dim=0)
        torch.testing.assert_close(found.residuals, left)
        assert float(left.max()) < 1e-8


def test_too_few_steps_say_so() -> None:
    with pytest.raises(RuntimeError, match="steps of Lanczos leave residuals up to"):
        top_eigenpairs(with_spectrum(torch.linspace(0, 1, 400).double()), 10, generator(), most_steps=40)
    for bad, text in ((DenseOperator(torch.randn(4, 4)), "self-adjoint"), (DenseOperator(torch.randn(4, 3)), "one square")):
        with pytest.raises(ValueError, match=text):
            top_eigenpairs(bad, 1, generator())
    with pytest.raises(FloatingPointError, match="NaN or infinity in step 0"):
        lanczos(_Nan(), 2, torch.ones(3))


class _Nan(DenseOperator):
    def __init__(self) -> None:
        super().__init__(torch.eye(3))

    def matmat(self, x: Tensor) -> Tensor:
        return x * float("nan")


def test_the_density_of_a_wishart_with_spikes() -> None:
    operator = spiked()
    values, density = torch.linalg.eigvalsh(operator.matrix), spectral_density(operator, 10, 80, generator())
    at = torch.linspace(0.05, 3.2, 200, dtype=torch.float64)
    truth = torch.as_tensor(np.searchsorted(values.numpy(), at.numpy(), side="right") / len(values))
    assert float((density.distribution(at) - truth).abs().max()) < 0.02
    torch.testing.assert_close(density.weights.sum(1), torch.ones(10, dtype=torch.float64))
    trace, error = density.trace_of(lambda x: x)
    assert abs(trace - float(values.sum())) < 4 * error and trace == pytest.approx(float(values.sum()), rel=0.01)
    square, _ = density.trace_of(torch.square)
    assert square == pytest.approx(float(values.square().sum()), rel=0.2)


def test_hutchinsons_variance_is_the_known_one() -> None:
    matrix = torch.randn(12, 12, generator=generator(1), dtype=torch.float64)
    operator = DenseOperator(matrix + matrix.mT)
    found = hutchinson_trace(operator, 40_000, generator())
    expected = 2 * (operator.matrix.square().sum() - operator.matrix.diagonal().square().sum()) / 40_000
    assert found.standard_error**2 == pytest.approx(float(expected), rel=0.02)
    assert found.value == pytest.approx(float(operator.matrix.trace()), abs=4 * float(expected) ** 0.5)
    draws = torch.tensor([hutchinson_trace(operator, 4, generator(seed)).value for seed in range(1000)])
    assert float(draws.var()) == pytest.approx(10_000 * float(expected), rel=0.2)


def test_hutch_plus_plus_is_closer_on_a_falling_spectrum() -> None:
    operator = with_spectrum(torch.arange(1, 301, dtype=torch.float64) ** -2.0)
    truth = float(operator.matrix.trace())
    errors = {
        estimator: np.mean([abs(estimator(operator, 60, generator(seed)).value - truth) for seed in range(20)])
        for estimator in (hutchinson_trace, hutch_plus_plus_trace)
    }
    assert errors[hutch_plus_plus_trace] < errors[hutchinson_trace] / 20
    assert hutch_plus_plus_trace(operator, 60, generator()).applications == 60


def test_the_diagonal_lies_within_its_error() -> None:
    matrix = torch.randn(40, 40, generator=generator(1), dtype=torch.float64)
    operator = DenseOperator(matrix @ matrix.mT)
    value, error = hutchinson_diagonal(operator, 400, generator())
    off = matrix @ matrix.mT
    expected = (off.square().sum(1) - off.diagonal().square()).div(400).sqrt()
    torch.testing.assert_close(error, expected, rtol=0.15, atol=0)
    assert float((((value - off.diagonal()) / error).square()).mean()) == pytest.approx(1.0, abs=0.7)


def test_nystrom_never_lies_above_and_is_exact_at_full_rank() -> None:
    values = torch.cat([torch.exp(-torch.arange(30, dtype=torch.float64) / 4), torch.zeros(70, dtype=torch.float64)])
    operator = with_spectrum(values)
    for rank, bound in ((10, 0.3), (20, 0.05), (40, 1e-9)):
        found = nystrom(operator, rank, generator())
        low = (found.vectors * found.values) @ found.vectors.mT
        assert float(operator.matrix.trace() - low.trace()) / float(values.sum()) < bound
        assert float(torch.linalg.eigvalsh(operator.matrix - low)[0]) > -1e-9
    with pytest.raises(NotPositiveError, match="below zero"):
        nystrom(with_spectrum(torch.linspace(-1, 1, 20).double()), 20, generator())


def test_what_no_system_is_refused_at_once() -> None:
    """And not after a thousand iterations of NaN."""
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    operator, targets = DenseOperator(features @ features.T, self_adjoint=True), torch.ones(9, 2, dtype=torch.float64)
    low = nystrom(operator, 5, torch.Generator().manual_seed(0))
    assert float(low.values[-1]) == 0
    with pytest.raises(ValueError, match="deficient rank needs a ridge"):
        conjugate_gradients(operator, targets, 0.0, preconditioner=low)
    solved = conjugate_gradients(operator, targets, 0.1, preconditioner=low)
    torch.testing.assert_close(operator.matmat(solved.x) + 0.1 * solved.x, targets)
    for wrong in (targets[:5], targets[:, 0]):
        with pytest.raises(ValueError, match=r"targets must be \[9, m\]"):
            conjugate_gradients(operator, wrong, 0.1)
    for ridge in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and not negative"):
            conjugate_gradients(operator, targets, ridge)
    with pytest.raises(NonFiniteError, match="targets is nan"):
        conjugate_gradients(operator, targets * float("nan"), 0.1)
    nothing = nystrom(DenseOperator(torch.zeros(4, 4), self_adjoint=True), 2, torch.Generator().manual_seed(0))
    assert not bool(nothing.values.any()) and torch.allclose(nothing.vectors.T @ nothing.vectors, torch.eye(2), atol=1e-6)


def test_conjugate_gradients_solve_and_a_preconditioner_saves_iterations() -> None:
    operator = with_spectrum(torch.arange(1, 301, dtype=torch.float64) ** -3.0)
    targets = torch.randn(300, 2, generator=generator(), dtype=torch.float64)
    targets[:, 1] = 0
    exact = torch.linalg.solve(operator.matrix + 1e-6 * torch.eye(300, dtype=torch.float64), targets)
    plain = conjugate_gradients(operator, targets, 1e-6)
    quick = conjugate_gradients(operator, targets, 1e-6, preconditioner=nystrom(operator, 60, generator()))
    for found in (plain, quick):
        torch.testing.assert_close(found.x, exact, rtol=1e-5, atol=1e-3)
        assert float(found.residuals.max()) < 1e-9
    assert quick.iterations < plain.iterations / 3
    with pytest.raises(RuntimeError, match="5 iterations leave a relative residual"):
        conjugate_gradients(operator, targets, 1e-6, most_iterations=5)
