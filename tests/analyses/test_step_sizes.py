"""Parametrisations, sharpness, initial rates, laws of batches: each against what is known of it, and a wrong variant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from theorems import late_sharpness
from torch import Tensor, nn

from statescope.analyses.infinite_width.nonlinearities import Tanh
from statescope.analyses.lazy.parametrised import (
    AbcNetwork,
    descend,
    half_squared_error,
    one_step_optimum,
)
from statescope.analyses.lazy.sine_network import SineNetwork, spectral_centroid
from statescope.analyses.lazy.step_sizes import hessian_sharpness, largest_initial_rate, stability_threshold
from statescope.analyses.operators.random_matrix import (
    batch_noise_edge,
    batch_outlier,
    covariance_edges,
    covariance_outlier,
    largest_batch_step,
)
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.errors import UnknownNameError

DOUBLE = torch.float64


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def moved(name: str, depth: int, width: int, seed: int) -> tuple[float, float]:
    """How far the last hidden layer and the output go in one step of rate 0.1: root mean squares."""
    network = AbcNetwork(6, width, depth, name, torch.Generator().manual_seed(seed), nonlinearity=Tanh())
    x, y, kept = drawn(8, 6), drawn(8, 1, seed=1), list[Tensor]()

    def features() -> Tensor:
        h = x
        for multiplier, weight in list(zip(network.multipliers, network.weights, strict=True))[:-1]:
            h = network.nonlinearity(multiplier * (h @ weight.T))
        return h.detach()

    before, start = features(), network(x).detach()
    descend(network, x, y, 0.1, [1], lambda taken: kept.append(network(x).detach()))
    return float((features() - before).square().mean() ** 0.5), float((kept[-1] - start).square().mean() ** 0.5)


@pytest.mark.parametrize(
    ("name", "depth", "features", "output"),
    [("mup", 2, 0.0, 0.0), ("ntk", 2, -0.5, 0.0), ("mean_field", 1, 0.0, 0.0), ("standard", 2, 0.5, 1.0)],
)
def test_features_move_with_the_width_as_the_exponents_say(name: str, depth: int, features: float, output: float) -> None:
    widths = (128, 512, 2048)
    found = np.log([np.mean([moved(name, depth, width, seed) for seed in range(5)], axis=0) for width in widths])
    slopes = [float(np.polyfit(np.log(widths), found[:, i], 1)[0]) for i in range(2)]
    if name == "standard":  # saturates, since it explodes
        assert slopes[0] > 0.15 and slopes[1] > 0.6
    else:
        assert slopes == pytest.approx([features, output], abs=0.2)


def test_mean_field_and_mup_are_one_parametrisation_of_one_hidden_layer() -> None:
    """a + 1/2, b - 1/2, c - 1 changes no prediction at any step (Yang and Hu 2021); another rate does."""
    outputs = []
    for name, rate in (("mup", 0.5), ("mean_field", 0.5), ("mup", 0.6)):
        network = AbcNetwork(4, 64, 1, name, torch.Generator().manual_seed(0), nonlinearity=Tanh())
        descend(network, drawn(6, 4), drawn(6, 1, seed=1), rate, [8])
        outputs.append(network(drawn(6, 4)).detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    assert (outputs[2] - outputs[0]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="mean-field"):
        AbcNetwork(3, 8, 2, "mean_field", torch.Generator())
    with pytest.raises(UnknownNameError):
        AbcNetwork(3, 8, 2, "mu", torch.Generator())


def test_branches_are_added_to_what_they_read() -> None:
    """A linear network with branches is (I + s W) of its first map; without them, W alone."""
    x = drawn(3, 4)
    for branch in (None, 0.5):
        network = AbcNetwork(4, 6, 2, "mup", torch.Generator().manual_seed(0), branch=branch)
        first, hidden, last = (
            multiplier * weight for multiplier, weight in zip(network.multipliers, network.weights, strict=True)
        )
        middle = hidden if branch is None else torch.eye(6, dtype=DOUBLE) + branch * hidden
        torch.testing.assert_close(network(x), x @ (last @ middle @ first).T)


def test_one_step_of_a_wide_linear_network_is_best_where_the_limit_says() -> None:
    x, y = drawn(16, 5), drawn(16, 1, seed=1)
    expected = one_step_optimum(x, y, 2)
    rates = expected * np.linspace(0.5, 1.6, 23)

    def losses(name: str, scale: float) -> np.ndarray:
        def loss(rate: float, seed: int) -> float:
            network = AbcNetwork(5, 1024, 3, name, torch.Generator().manual_seed(seed)).train_hidden_alone()
            return float(descend(network, x, y, rate, [1])[0])

        return np.array([np.mean([loss(scale * rate, seed) for seed in range(2)]) for rate in rates])

    curve = losses("mup", 1.0)
    assert rates[curve.argmin()] == pytest.approx(expected, rel=0.15)
    assert one_step_optimum(x, y, 1) == pytest.approx(2 * expected)
    with pytest.raises(ValueError, match="no step"):
        one_step_optimum(x, torch.zeros(16, 1, dtype=DOUBLE), 2)


def test_sharpness_is_the_top_of_the_hessian() -> None:
    network, x, y = nn.Linear(4, 1).double(), drawn(12, 4), drawn(12, 1)
    own = torch.cat([x, torch.ones(12, 1, dtype=DOUBLE)], 1)
    expected = float(torch.linalg.eigvalsh(own.T @ own / 12)[-1])
    assert hessian_sharpness(network, half_squared_error, x, y, tolerance=1e-10) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)])
def test_descent_on_a_parabola_turns_unstable_at_the_threshold(momentum: float, nesterov: bool) -> None:
    edge = stability_threshold(0.1, momentum, nesterov=nesterov)
    for factor, stays in ((0.99, True), (1.01, False)):
        place = torch.ones(1, dtype=DOUBLE, requires_grad=True)
        optimizer = torch.optim.SGD([place], lr=0.1, momentum=momentum, nesterov=nesterov)
        for _ in range(4000):
            optimizer.zero_grad()
            (factor * edge * place.square() / 2).sum().backward()
            optimizer.step()
        assert (float(place.detach().abs()) < 1) is stays
    with pytest.raises(ValueError, match="momentum in"):
        stability_threshold(0.1, 1.0)


def followed(network: AbcNetwork, x: Tensor, y: Tensor, rate: float, times: list[int]) -> list[float]:
    """The sharpness at these steps over the threshold."""
    found: list[float] = []
    descend(network, x, y, rate, times, lambda taken: found.append(hessian_sharpness(network, half_squared_error, x, y)))
    return [value / stability_threshold(rate) for value in found]


def test_sharpness_rises_to_the_edge_of_stability_and_stays() -> None:
    """Half as large a rate is not at its own edge yet: the sharpness lies below."""
    x, y = drawn(40, 6), drawn(40, 6, seed=2)[:, :1].sign()
    late = {}
    for rate in (0.8, 0.1):
        network = AbcNetwork(6, 48, 2, "mup", torch.Generator().manual_seed(0), nonlinearity=Tanh())
        late[rate] = followed(network, x, y, rate, [0, 600, 650, 700])
    assert late[0.8][0] < 0.8
    assert np.median(late[0.8][1:]) == pytest.approx(1.0, abs=0.1)
    assert np.median(late[0.1][1:]) < 0.9


def test_networks_on_digits_reach_the_edge_at_a_large_rate_alone() -> None:
    assert 0.95 < late_sharpness(0.4, 1100) < 1.1
    assert late_sharpness(0.1, 1100) < 0.5


def test_descent_that_diverges_says_so() -> None:
    network = AbcNetwork(3, 8, 1, "standard", torch.Generator().manual_seed(0))
    with pytest.raises(NonFiniteError, match="diverged at step"):
        descend(network, drawn(5, 3), drawn(5, 1), 1e12, [30])


def test_losses_stand_where_their_times_were_asked_for_and_targets_are_not_spread() -> None:
    def network() -> AbcNetwork:
        return AbcNetwork(3, 8, 1, "ntk", torch.Generator().manual_seed(0))

    x, y = drawn(5, 3), drawn(5, 1)
    rising = descend(network(), x, y, 0.1, [0, 2, 9])
    assert torch.equal(descend(network(), x, y, 0.1, [9, 0, 2, 9]), rising[[2, 0, 1, 2]])
    for wrong in (y[:, 0], y[:1]):
        with pytest.raises(ValueError, match="shaped as the outputs"):
            descend(network(), x, wrong, 0.1, [1])
    with pytest.raises(ValueError, match="times from 0"):
        descend(network(), x, y, 0.1, [])
    with pytest.raises(ValueError, match="must be at least 1, got 3, 0 and 1"):
        AbcNetwork(3, 0, 1, "ntk", torch.Generator())


def test_the_largest_initial_rate_is_found_by_bisection() -> None:
    asked: list[float] = []

    def succeeds(rate: float) -> bool:
        asked.append(rate)
        return rate < 0.37

    found = largest_initial_rate(succeeds, 1e-3, 10.0, halvings=10)
    assert 0.37 * 10 ** (-4 / 1024) <= found < 0.37
    assert len(asked) == 12
    for low, high, match in ((1.0, 2.0, "fails at the lowest"), (0.01, 0.1, "succeeds at the highest"), (1.0, 0.1, "low < high")):
        with pytest.raises(ValueError, match=match):
            largest_initial_rate(lambda rate: rate < 0.37, low, high)


@pytest.mark.parametrize("outlier", [3.0, 0.2])
def test_an_outlier_in_noise_lies_where_the_law_says(outlier: float) -> None:
    size, noise, batch, tops = 500, 0.1, 4, []
    for seed in range(8):
        own = drawn(size, size, seed=seed)
        matrix = noise / batch**0.5 * (own + own.T) / 2**0.5
        matrix[0, 0] += outlier
        tops.append(float(torch.linalg.eigvalsh(matrix)[-1]))
    assert np.mean(tops) == pytest.approx(batch_outlier(outlier, noise, size, batch), rel=0.02)
    assert np.mean(tops) != pytest.approx(batch_outlier(outlier, noise, size, 2 * batch), rel=0.03)
    if outlier == 0.2:
        assert batch_outlier(outlier, noise, size, batch) == batch_noise_edge(noise, size, batch)


@pytest.mark.parametrize("spike", [4.0, 1.2])
def test_eigenvalues_of_a_sample_covariance_lie_where_the_laws_say(spike: float) -> None:
    dimensions, samples, tops, lows = 300, 1200, [], []
    for seed in range(4):
        x = drawn(samples, dimensions, seed=seed)
        x[:, 0] *= spike**0.5
        values = torch.linalg.eigvalsh(x.T @ x / samples)
        tops.append(float(values[-1]))
        lows.append(float(values[0]))
    low, high = covariance_edges(0.25)
    assert (low, high) == (0.25, 2.25)
    assert np.mean(tops) == pytest.approx(covariance_outlier(spike, 0.25), rel=0.03)
    assert np.mean(tops) != pytest.approx(covariance_outlier(spike, 0.5), rel=0.05)
    assert np.mean(lows) == pytest.approx(low, rel=0.05)
    assert covariance_outlier(1.5 + 1e-9, 0.25) == pytest.approx(high)
    for call in (lambda: covariance_edges(0.0), lambda: covariance_outlier(1.0, 0.5)):
        with pytest.raises(ValueError, match="must be"):
            call()


def test_the_largest_step_of_a_batch_grows_and_saturates() -> None:
    steps = [largest_batch_step(2.0, 0.5, 1000, batch) for batch in (1, 4, 16, 10**6)]
    assert steps == sorted(steps)
    assert steps[1] / steps[0] == pytest.approx(2.0)  # the edge of the noise, by the root of the batch
    assert steps[-1] == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(ValueError, match="must be positive"):
        batch_outlier(-1.0, 0.5, 10, 1)


def test_sines_begin_with_unit_variance_and_noise_widens_their_spectrum() -> None:
    x = torch.linspace(-1, 1, 400, dtype=DOUBLE)[:, None]
    plain = SineNetwork(1, 256, 3, torch.Generator().manual_seed(0))
    inner = 30 * (plain.weights[1] @ (30 * x @ plain.weights[0].T).sin().T)
    assert float(inner.detach().var()) == pytest.approx(1.0, rel=0.25)
    with torch.no_grad():
        before = spectral_centroid(plain(x)[:, 0])
        after = spectral_centroid(plain.add_noise_(200.0, 0.0, torch.Generator().manual_seed(1))(x)[:, 0])
    assert after > 1.5 * before
    with pytest.raises(ValueError, match="first two layers"):
        SineNetwork(1, 4, 1, torch.Generator()).add_noise_(1.0, 1.0, torch.Generator())


def test_the_centroid_of_a_wave_is_its_frequency() -> None:
    place = torch.arange(128, dtype=DOUBLE) / 128
    assert spectral_centroid((2 * torch.pi * 9 * place).sin() + 3) == pytest.approx(9, abs=1e-6)
    assert np.isnan(spectral_centroid(torch.ones(8)))
