"""Long products: Lyapunov exponents, and windows of Householder tokens as one transition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from recurrences import unit
from torch import Tensor

from statescope import Transition, lyapunov_exponents
from statescope.kernels.products import UnresolvedError

K = 8


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def tokens(length: int, *, by_channel: bool = False, decay: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    keys = unit(torch.randn(length, 1, K, dtype=torch.float64))
    return keys, 0.9 * rand(length, 1), -decay * rand(length, K) if by_channel else -decay * rand(length)


@pytest.mark.parametrize("by_channel", [False, True])
def test_their_sum_is_the_mean_log_determinant(by_channel: bool) -> None:
    """Over 4000 tokens, where the product itself underflows to zero."""
    transition = Transition.householders(*tokens(4000, by_channel=by_channel))
    exponents = lyapunov_exponents(transition)
    assert exponents.sum().item() == pytest.approx(transition.log_abs_det().mean().item(), rel=1e-12)
    assert (exponents.diff() <= 0).all()
    product = torch.eye(K, dtype=torch.float64)
    for matrix in transition.dense():
        product = matrix @ product
    assert product.abs().max() < 1e-300


def test_a_constant_transition_has_the_logs_of_its_eigenvalues() -> None:
    """And re-orthonormalising too rarely loses the small ones, which is why it is refused."""
    decay = -torch.arange(1.0, K + 1, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(K, K, dtype=torch.float64)).Q
    matrix = turn @ torch.diag(decay.exp()) @ turn.T
    left = (matrix - torch.eye(K, dtype=torch.float64)).expand(400, K, K)
    transition = Transition(torch.ones(400, 1, dtype=torch.float64), left, torch.eye(K, dtype=torch.float64).expand(400, K, K))
    torch.testing.assert_close(lyapunov_exponents(transition, every=4), decay, rtol=0, atol=5e-2)
    torch.testing.assert_close(lyapunov_exponents(transition, count=2, every=4), decay[:2], rtol=0, atol=5e-2)
    with pytest.raises(ValueError, match="every=64 must lie in 1 to 16"):
        lyapunov_exponents(transition, every=64)


def test_single_radii_bound_no_product() -> None:
    """Three RWKV-7 transitions, each of spectral radius at most 1, whose product grows by half."""
    a = torch.tensor([[0, -0.5, -0.568, -0.654], [0, -0.572, 0.649, -0.502], [0, -0.653, -0.504, 0.566]], dtype=torch.float64)
    rate = torch.tensor([[0.939, 0.999, 0.001, 0], [0.392, 0, 0, 0.999], [0.286, 0, 0.999, 0]], dtype=torch.float64)
    decay = torch.tensor([[0.975, 1, 0.999, 1], [0.845, 1, 1, 1], [0.926, 1, 1, 1]], dtype=torch.float64)
    single = Transition.diagonal_plus_low_rank(unit(a), -rate * unit(a), decay.log())
    assert (single.eigenvalues().abs().amax(-1) <= 1 + 1e-3).all()
    period = Transition.diagonal_plus_low_rank(*(x.repeat(300, 1) for x in (unit(a), -rate * unit(a), decay.log())))
    assert lyapunov_exponents(period)[0].item() == pytest.approx(torch.tensor(1.503).log().item() / 3, abs=2e-2)


def test_time_is_the_last_batch_axis() -> None:
    keys, beta, decay = (torch.stack([a, b]) for a, b in zip(tokens(50), tokens(50), strict=True))
    together = lyapunov_exponents(Transition.householders(keys, beta, decay))
    for row in range(2):
        alone = lyapunov_exponents(Transition.householders(keys[row], beta[row], decay[row]))
        torch.testing.assert_close(together[row], alone, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="need a time axis"):
        lyapunov_exponents(Transition.householders(keys[0, 0], beta[0, 0], decay[0, 0]))


@pytest.mark.parametrize("length", [2, 5, 20])
def test_a_window_is_one_transition(length: int) -> None:
    keys, beta, decay = tokens(length)
    whole = Transition.householders(keys.flatten(0, 1), beta.flatten(), decay.sum())
    product = torch.eye(K, dtype=torch.float64)
    for matrix in Transition.householders(keys, beta, decay).dense():
        product = matrix @ product
    torch.testing.assert_close(whole.dense(), product, rtol=0, atol=1e-12)
    found = whole.eigenvalues().abs().sort().values
    torch.testing.assert_close(found, torch.linalg.eigvals(product).abs().sort().values, rtol=0, atol=1e-8)


def as_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in tensors)


@pytest.mark.parametrize("decay", [90.0, 105.0, 300.0])
@pytest.mark.parametrize("by_channel", [False, True])
def test_decays_that_leave_float32(decay: float, by_channel: bool) -> None:
    """e^-105 is 0 in float32 and e^-90 has lost digits; exponents and determinants keep them as logarithms."""
    keys, beta, _ = tokens(40)
    log_decay = -decay + rand(40, K) if by_channel else -decay + rand(40)
    exact, given = (keys, beta, log_decay), as_float32(keys, beta, log_decay)
    truth = Transition.householders(keys, beta, torch.zeros_like(log_decay) + (log_decay + decay))
    found = Transition.householders(*given)
    torch.testing.assert_close(found.log_abs_det().double(), truth.log_abs_det() - K * decay, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(lyapunov_exponents(found), lyapunov_exponents(truth) - decay, rtol=0, atol=5e-5)
    torch.testing.assert_close(lyapunov_exponents(Transition.householders(*exact)).sum(), truth.log_abs_det().mean() - K * decay)
    diagonal = Transition.diagonal_only(given[2] if by_channel else given[2][:, None], K)
    expected = (log_decay if by_channel else log_decay[:, None].expand(-1, K)).mean(0).sort(descending=True).values
    torch.testing.assert_close(lyapunov_exponents(diagonal), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("every", [1, 8])
def test_a_direction_that_a_token_erases_has_no_exponent(dtype: torch.dtype, every: int) -> None:
    """beta = 1 makes the product singular: -inf, and not the logarithm of a rounding error. The other directions keep theirs."""
    keys, beta, decay = tokens(20)
    beta[7] = 1
    given = [x.to(dtype) for x in (keys, beta, decay)]
    transition = Transition.householders(*given)
    assert (transition.log_abs_det() == -torch.inf).nonzero().flatten().tolist() == [7]
    exponents = lyapunov_exponents(transition, every=every)
    assert exponents[-1] == -torch.inf
    assert exponents[:-1].isfinite().all()
    product = torch.eye(K, dtype=torch.float64)
    for matrix in Transition.householders(keys, beta, decay).dense():
        product = matrix @ product
    volume = torch.linalg.svdvals(product[:, : K - 1]).log().sum() / 20  # of what the product makes of the first K - 1 axes
    torch.testing.assert_close(exponents[:-1].sum(), volume, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-10)
    torch.testing.assert_close(lyapunov_exponents(transition, count=K - 1, every=every), exponents[:-1])


def test_one_of_several_products_is_singular() -> None:
    keys, beta, decay = (torch.stack([a, b]) for a, b in zip(tokens(20), tokens(20), strict=True))
    beta[1, 3] = 1
    exponents = lyapunov_exponents(Transition.householders(keys, beta, decay))
    assert exponents[0].isfinite().all()
    alone = lyapunov_exponents(Transition.householders(keys[0], beta[0], decay[0]))
    torch.testing.assert_close(exponents[0], alone, rtol=1e-9, atol=1e-12)
    assert exponents[1, -1] == -torch.inf


def test_what_eight_tokens_spread_too_far_is_resolved_token_by_token_and_what_one_does_is_said() -> None:
    """Diagonals in a rotated basis, whose exponents are known: -9 after 8 tokens is e^-72 beside 1."""
    turn = torch.linalg.qr(torch.randn(K, K, dtype=torch.float64)).Q

    def constant(decay: Tensor) -> Transition:
        matrix = turn @ torch.diag(decay.exp()) @ turn.T
        eye = torch.eye(K, dtype=torch.float64)
        return Transition(torch.ones(60, 1, dtype=torch.float64), (matrix - eye).expand(60, K, K), eye.expand(60, K, K))

    decay = -torch.linspace(0, 9, K, dtype=torch.float64)
    torch.testing.assert_close(lyapunov_exponents(constant(decay)), decay, rtol=0, atol=0.2)
    keys, beta, _ = tokens(10)
    gates = -torch.linspace(0, 200, K, dtype=torch.float64).expand(10, K)
    spread = Transition.householders(keys, beta, gates)
    assert spread.log_abs_det().isfinite().all()
    with pytest.raises(UnresolvedError, match="token 0 spreads directions further apart than float64 resolves; ask for fewer"):
        lyapunov_exponents(spread)
    assert lyapunov_exponents(spread, count=1).isfinite().all()


def test_complex_transitions() -> None:
    """Rotations add no growth: the exponents are those of the moduli."""
    decay, phase = -rand(30, K), 6 * rand(30, K)
    turning = Transition.diagonal_only(torch.complex(decay, phase), K)
    expected = decay.mean(0).sort(descending=True).values
    torch.testing.assert_close(lyapunov_exponents(turning), expected, rtol=1e-12, atol=1e-12)
    left, right = (0.2 * torch.randn(2, 30, K, 1, dtype=torch.complex128)).unbind(0)
    general = Transition(torch.polar(decay.exp(), phase), left, right)
    exponents = lyapunov_exponents(general)
    assert not exponents.is_complex()
    assert exponents.sum().item() == pytest.approx(general.log_abs_det().mean().item(), rel=1e-12)


def test_directions_that_there_are_not() -> None:
    transitions = Transition.diagonal_only(torch.zeros(4, 1), 3)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"count={wrong} must lie in 1 to the 3 directions"):
            lyapunov_exponents(transitions, count=wrong)


def random_matrices(count: int, size: int, generator: torch.Generator) -> Transition:
    """Dense transitions with entries N(0, 1 / size), the whole of each in its low-rank part."""
    matrices = torch.randn(count, size, size, generator=generator, dtype=torch.float64) / size**0.5
    return Transition(
        torch.zeros(count, 1, dtype=torch.float64), matrices, torch.eye(size, dtype=torch.float64).expand_as(matrices)
    )


def test_products_of_gaussian_matrices_have_newmans_exponents() -> None:
    """(ln(2 / N) + psi((N - k + 1) / 2)) / 2 (Newman 1986), at N = 16 over 20,000 factors; each spreads by 1 / sqrt(20,000)."""
    size, count = 16, 20_000
    found = lyapunov_exponents(random_matrices(count, size, torch.Generator().manual_seed(0)), every=1)
    k = np.arange(1, size + 1)
    expected = torch.from_numpy((np.log(2 / size) + scipy.special.psi((size - k + 1) / 2)) / 2)
    assert expected[0].item() == pytest.approx(-0.0319, abs=1e-4)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert (found - expected.roll(1))[1:].abs().max() > 0.02  # each stands in its own place


def test_a_ginibre_matrix_fills_the_disc_evenly() -> None:
    """N = 500: the mean modulus is 2/3, the radius 1 with an edge of 1 / sqrt(N)."""
    eigenvalues = random_matrices(1, 500, torch.Generator().manual_seed(0)).eigenvalues()[0]
    assert eigenvalues.abs().mean().item() == pytest.approx(2 / 3, abs=0.01)
    assert eigenvalues.abs().max().item() == pytest.approx(1, abs=0.06)
    assert ((eigenvalues.abs() < 0.5).double().mean()).item() == pytest.approx(0.25, abs=0.03)


def test_products_of_orthogonal_matrices_keep_every_length() -> None:
    keys = unit(torch.randn(12, 1, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    reflections = Transition.householders(keys, torch.full((12, 1), 2.0, dtype=torch.float64))
    product = reflections[0]
    for token in range(1, 12):
        product = reflections[token].compose(product)
    torch.testing.assert_close(product.singular_values(), torch.ones(K, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(lyapunov_exponents(reflections), torch.zeros(K, dtype=torch.float64), rtol=0, atol=1e-12)
