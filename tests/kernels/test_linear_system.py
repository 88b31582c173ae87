"""Linear systems against scipy's Lyapunov solver and signal tools, closed forms, and the bounds of balanced truncation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from torch import Tensor

from statescope.kernels.operators.linear_system import LinearSystem, UnstableSystemError


def drawn(heads: int = 2, size: int = 7, inputs: int = 2, outputs: int = 3, radius: float = 0.97, seed: int = 0) -> LinearSystem:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(heads, size, size, generator=generator, dtype=torch.float64)
    a = a * (radius / torch.linalg.eigvals(a).abs().amax(-1))[:, None, None]
    b = torch.randn(heads, size, inputs, generator=generator, dtype=torch.float64)
    return LinearSystem(a, b, torch.randn(heads, outputs, size, generator=generator, dtype=torch.float64))


def single(a: float, b: float, c: float) -> LinearSystem:
    return LinearSystem(*(torch.tensor([[[value]]], dtype=torch.float64) for value in (a, b, c)))


def largest_gain(system: LinearSystem, other: LinearSystem) -> Tensor:
    """max_w |G - G_r| of each head, on a fine grid."""
    angles = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    gap = system.frequency_response(angles) - other.frequency_response(angles)
    return torch.linalg.matrix_norm(gap, ord=2).amax(-1)


def test_gramians_are_scipys() -> None:
    system = drawn()
    for head in range(2):
        a, b, c = (part[head].numpy() for part in (system.a, system.b, system.c))
        for ours, theirs in (
            (system.controllability()[head], scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)),
            (system.observability()[head], scipy.linalg.solve_discrete_lyapunov(a.T, c.T @ c)),
        ):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())
        # Both of one transposition, the wrong variant, are another matrix.
        wrong = scipy.linalg.solve_discrete_lyapunov(a, c.T @ c)
        assert np.abs(system.observability()[head].numpy() - wrong).max() > 0.1 * np.abs(wrong).max()


def test_one_state_in_closed_form() -> None:
    """x_t = a x_{t-1} + b u_t, y = c x: P = b^2 / (1 - a^2), sigma = |b c| / (1 - a^2), G(1) = c b / (1 - a)."""
    a, b, c = 0.9, 2.0, -0.5
    system = single(a, b, c)
    assert float(system.controllability()) == pytest.approx(b**2 / (1 - a**2), rel=1e-14)
    assert float(system.hankel_singular_values()) == pytest.approx(abs(b * c) / (1 - a**2), rel=1e-14)
    gain = system.frequency_response(torch.tensor([0.0, math.pi], dtype=torch.float64))[0, :, 0, 0]
    np.testing.assert_allclose(gain.numpy(), [c * b / (1 - a), c * b / (1 + a)], rtol=1e-13)
    np.testing.assert_allclose(system.impulse_response(5)[0, :, 0, 0].numpy(), c * b * a ** np.arange(5), rtol=1e-14)


def test_a_slow_pole_needs_as_many_doublings_as_it_takes() -> None:
    slow = 1 - 1e-9
    assert float(single(slow, 1.0, 1.0).controllability()) == pytest.approx(1 / (1 - slow**2), rel=1e-6)


def test_hankel_singular_values_are_those_of_the_hankel_matrix() -> None:
    """Of the block matrix K_{i+j}, whose rank is the order of the system (Kronecker), to the rounding of the largest."""
    system = drawn(heads=1, size=5, inputs=1, outputs=1, radius=0.8)
    response = system.impulse_response(400)[0, :, 0, 0].numpy()
    expected = np.linalg.svd(scipy.linalg.hankel(response[:200], response[199:399]), compute_uv=False)
    ours = system.hankel_singular_values()[0].numpy()
    np.testing.assert_allclose(ours, expected[:5], atol=1e-12 * expected[0])
    # Gramians that are multiplied out, the wrong variant, lose what lies below the root of the rounding.
    turn = torch.linalg.qr(torch.randn(1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    small = torch.tensor([[[1.0], [1e-5]]], dtype=torch.float64)
    a = turn @ torch.diag_embed(torch.tensor([[0.5, 0.2]], dtype=torch.float64)) @ turn.mT
    tiny = LinearSystem(a, turn @ small, small.mT @ turn.mT)
    exact = 1e-10 / (1 - 0.2**2)  # to first order: the second state answers its own small input
    gap = (1 - 0.5 * 0.2) ** -2 / (1 - 0.5**2) ** -1  # less what the first state answers in its place
    exact -= gap * 1e-10
    assert float(tiny.hankel_singular_values()[0, 1]) == pytest.approx(exact, rel=1e-4, abs=0)
    product = (tiny.controllability() @ tiny.observability())[0]
    assert float(torch.linalg.eigvals(product).abs().sqrt().min()) != pytest.approx(exact, rel=1e-1, abs=0)


def test_the_response_is_that_of_scipy_and_of_the_transfer_function() -> None:
    system = drawn(heads=1)
    a, b, c = (part[0].numpy() for part in (system.a, system.b, system.c))
    u = torch.randn(1, 40, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    # scipy's y_t sees x before u_t: with C A and the feed-through C B it is ours.
    _, expected, _ = scipy.signal.dlsim((a, b, c @ a, c @ b, 1.0), u[0, :, 0].numpy())
    np.testing.assert_allclose(system.respond(u)[0, :, 0].numpy(), expected, rtol=1e-10, atol=1e-10)
    angles = torch.linspace(0, math.pi, 9, dtype=torch.float64)
    _, answer = scipy.signal.dfreqresp((a, b[:, :1], (c @ a)[:1], (c @ b)[:1, :1], 1.0), angles.numpy()[1:-1])
    np.testing.assert_allclose(system.frequency_response(angles)[0, 1:-1, 0, 0].numpy(), answer, rtol=1e-10)
    response = system.impulse_response(3000)[0]
    summed = torch.einsum("tpm,ft->fpm", response.to(torch.complex128), torch.exp(-1j * angles[:, None] * torch.arange(3000)))
    assert float((system.frequency_response(angles)[0] - summed).abs().max()) < 1e-9 * float(summed.abs().max())


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_the_error_of_a_balanced_truncation_lies_between_its_bounds(order: int) -> None:
    system = drawn()
    small = system.balanced(order)
    sigma = system.hankel_singular_values()
    error = largest_gain(system, small)
    assert (error <= 2 * sigma[:, order:].sum(-1) * (1 + 1e-9)).all()
    assert (error >= sigma[:, order] * (1 - 1e-3)).all()  # the largest gain of a grid is a little below that of all angles
    assert float(small.poles().abs().max()) < 1


def test_truncation_without_balancing_breaks_the_bound() -> None:
    """A system whose largest coordinates say nothing: the first states as they are, or the slowest poles, lose what counts."""
    system = drawn(heads=1, size=6, inputs=1, outputs=1, seed=4)
    bound = 2 * float(system.hankel_singular_values()[0, 2:].sum())
    assert float(largest_gain(system, system.balanced(2))) <= bound
    cut = LinearSystem(system.a[:, :2, :2], system.b[:, :2], system.c[:, :, :2])
    assert float(torch.linalg.eigvals(cut.a).abs().max()) > 1 or float(largest_gain(system, cut)) > bound


def test_a_full_order_is_the_system_in_other_coordinates() -> None:
    system = drawn()
    whole = system.balanced(system.size)
    np.testing.assert_allclose(whole.impulse_response(30).numpy(), system.impulse_response(30).numpy(), atol=1e-9)
    sigma = torch.diag_embed(system.hankel_singular_values()).numpy()
    for gramian in (whole.controllability(), whole.observability()):
        np.testing.assert_allclose(gramian.numpy(), sigma, atol=1e-8 * sigma.max())


def test_a_complex_diagonal_has_a_real_form() -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.complex128)

    decay = 0.9 * draw(2, 3) / draw(2, 3).abs().clamp(min=2)
    b, c = draw(2, 3, 2), draw(2, 1, 3)
    system = LinearSystem.of_diagonal(decay, b, c)
    both = torch.cat([decay, decay.conj()], dim=-1)
    for head in range(2):
        np.testing.assert_allclose(np.sort_complex(system.poles()[head].numpy()), np.sort_complex(both[head].numpy()), atol=1e-12)
    powers = decay[:, None] ** torch.arange(6)[:, None]
    expected = torch.einsum("hpn,htn,hnm->htpm", c, powers, b).real
    np.testing.assert_allclose(system.impulse_response(6).numpy(), expected.numpy(), atol=1e-12)


def test_what_is_refused() -> None:
    with pytest.raises(UnstableSystemError, match="a pole has modulus 1.1"):
        single(1.1, 1.0, 1.0).controllability()
    with pytest.raises(UnstableSystemError):
        single(1.0, 1.0, 1.0).hankel_singular_values()
    with pytest.raises(ValueError, match="order 8 must be from 1 to 7"):
        drawn().balanced(8)
    apart = torch.diag_embed(torch.tensor([[0.5, 0.4]]))
    unseen = LinearSystem(apart, torch.ones(1, 2, 1), torch.tensor([[[1.0, 0.0]]])).double()
    with pytest.raises(ValueError, match="from 1 to 1"):
        unseen.balanced(2)
    with pytest.raises(ValueError, match="must agree as"):
        LinearSystem(torch.zeros(1, 2, 2), torch.zeros(1, 3, 1), torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="of_diagonal"):
        LinearSystem(torch.zeros(1, 1, 1, dtype=torch.complex64), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))


def test_systems_side_by_side_are_each_summed_to_their_own_end() -> None:
    """A large system that forgets at once does not end the sum of a small one that remembers for long."""
    a = torch.tensor([0.1, 0.9999], dtype=torch.float64)[:, None, None]
    b = torch.tensor([1e12, 1e-7], dtype=torch.float64)[:, None, None]
    both = LinearSystem(a, b, torch.ones_like(a))
    expected = (b.square() / (1 - a.square())).flatten()
    np.testing.assert_allclose(both.controllability().flatten().numpy(), expected.numpy(), rtol=1e-10)
    np.testing.assert_allclose(
        both.hankel_singular_values()[1].numpy(), single(0.9999, 1e-7, 1.0).hankel_singular_values()[0].numpy(), rtol=1e-10
    )
