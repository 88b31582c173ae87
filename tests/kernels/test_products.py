"""Long products: Lyapunov exponents, and windows of Householder tokens as one transition."""

from __future__ import annotations

import pytest
import torch
from recurrences import unit
from torch import Tensor

from statescope import Transition, lyapunov_exponents
from statescope.kernels.products import product_of_householders

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
    whole = product_of_householders(keys, beta, decay)
    product = torch.eye(K, dtype=torch.float64)
    for matrix in Transition.householders(keys, beta, decay).dense():
        product = matrix @ product
    torch.testing.assert_close(whole.dense(), product, rtol=0, atol=1e-12)
    found = whole.eigenvalues().abs().sort().values
    torch.testing.assert_close(found, torch.linalg.eigvals(product).abs().sort().values, rtol=0, atol=1e-8)
