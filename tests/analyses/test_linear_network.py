"""Linear networks of two layers: closed forms against known values, the differential equations and descent itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from statescope.analyses.lazy.linear_network import aligned_mode, balanced_network
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.kernels.arguments import NonFiniteError

DOUBLE = torch.float64


def test_a_mode_is_learnt_along_its_sigmoid() -> None:
    times = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, math.log(2999) / 6, 1e6], dtype=DOUBLE)
    known = [1e-3, 0.0199585636, 0.3557124789, 2.1896116028, 2.9457206988, 1.5, 3.0]
    torch.testing.assert_close(aligned_mode(3.0, 1e-3, times), torch.tensor(known, dtype=DOUBLE), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(aligned_mode(3.0, 1e-3, times, 2.0), aligned_mode(3.0, 1e-3, times / 2))


def test_descent_on_aligned_layers_comes_to_it_as_the_step_falls() -> None:
    """Each layer is diag(root a) at the start, and the error is 12.5 times the step."""
    strengths, start = np.array([4.0, 2.0, 1.0]), 1e-3
    for step in (1e-2, 1e-3, 1e-4):
        inward, found = np.full(3, start**0.5), []
        outward = inward.copy()
        for _ in range(round(6 / step)):
            missed = strengths - inward * outward
            inward, outward = inward + step * missed * outward, outward + step * missed * inward
            found.append(inward * outward)
        times = step * torch.arange(1, len(found) + 1, dtype=DOUBLE)
        exact = torch.stack([aligned_mode(strength, start, times) for strength in strengths], 1).numpy()
        assert np.abs(np.stack(found) - exact).max() == pytest.approx(12.5 * step, rel=0.005)


def test_from_small_random_layers_strong_modes_are_learnt_first() -> None:
    """Half of each is reached at a time that is as one over its strength: 32 hidden units, of weights of size 1e-3."""
    strengths, step = torch.tensor([4.0, 2.0, 1.0], dtype=DOUBLE), 1e-2
    generator, halves = torch.Generator().manual_seed(0), torch.zeros(3, dtype=DOUBLE)
    inward, outward = (1e-3 * torch.randn(*size, generator=generator, dtype=DOUBLE) for size in ((32, 3), (3, 32)))
    for _ in range(1000):
        missed = strengths.diag() - outward @ inward
        inward, outward = inward + step * outward.mT @ missed, outward + step * missed @ inward.mT
        halves += step * ((outward @ inward).diagonal() < strengths / 2)
    assert halves.tolist() == sorted(halves.tolist()) and float(halves[-1]) < 9
    scaled = strengths * halves
    assert float(scaled.max() / scaled.min()) < 1.2


def layers(balance: float, outputs: int, hidden: int, inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """W_1, W_2 with W_2^T W_2 - W_1 W_1^T = balance I, and a target."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=DOUBLE)

    small = 0.3 * drawn(hidden, inputs if balance >= 0 else outputs)
    values, vectors = torch.linalg.eigh(small @ small.mT + abs(balance) * torch.eye(hidden, dtype=DOUBLE))
    turned = torch.linalg.qr(drawn(outputs if balance >= 0 else inputs, hidden))[0]
    large = turned @ (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    return (small, large, drawn(outputs, inputs)) if balance >= 0 else (large.mT, small.mT, drawn(outputs, inputs))


@pytest.mark.parametrize(("outputs", "hidden", "inputs"), [(3, 3, 4), (1, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("balance", [0.0, 0.5, 2.0, -1.0, 10.0])
def test_balanced_layers_go_as_the_differential_equation(balance: float, outputs: int, hidden: int, inputs: int) -> None:
    inward, outward, target = layers(balance, outputs, hidden, inputs)
    times, split = np.array([0.0, 0.1, 0.7, 3.0]), hidden * inputs

    def both(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return numbers[:split].reshape(hidden, inputs), numbers[split:].reshape(outputs, hidden)

    def slope(_: float, numbers: np.ndarray) -> np.ndarray:
        one, two = both(numbers)
        missed = target.numpy() - two @ one
        return np.concatenate([(two.T @ missed).ravel(), (missed @ one.T).ravel()])

    start = torch.cat([inward.flatten(), outward.flatten()]).numpy()
    ends = solve_ivp(slope, (0, 3), start, t_eval=times, rtol=1e-11, atol=1e-12).y.T
    exact = [[two @ one, one.T @ one, two @ two.T] for one, two in map(both, ends)]
    order = torch.tensor([2, 0, 3, 1])
    found = balanced_network(inward, outward, target, torch.tensor(times)[order])
    for own, its in zip(found, zip(*exact, strict=True), strict=True):
        torch.testing.assert_close(own, torch.tensor(np.stack(its))[order], rtol=1e-9, atol=1e-9)


def test_layers_that_are_not_square_end_at_the_target_and_have_the_networks_kernel() -> None:
    inward, outward, target = layers(0.5, 3, 3, 4)
    found = balanced_network(inward, outward, target, torch.tensor([0.0, 200.0], dtype=DOUBLE))
    torch.testing.assert_close(found.map[1], target, rtol=1e-8, atol=1e-8)
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(inward)
        model[1].weight.copy_(outward)
    x = torch.randn(2, 4, dtype=DOUBLE)
    kernel = torch.einsum("ij,op->iojp", x @ x.T, found.output_gram[0])
    kernel = kernel + torch.einsum("ij,op->iojp", x @ found.input_gram[0] @ x.T, torch.eye(3, dtype=DOUBLE))
    torch.testing.assert_close(empirical_ntk(model, x, output="full"), kernel)


def test_late_times_end_where_the_flow_stands_still() -> None:
    """At the best map of the rank that the hidden units allow; the steps to such times are not taken one by one."""
    inward, outward, target = layers(0.5, 3, 2, 4)
    left, singular, right = torch.linalg.svd(target, full_matrices=False)
    found = balanced_network(inward, outward, target, torch.tensor([1e9, 1e3])).map
    rank = min(2, len(singular))
    best = left[:, :rank] * singular[:rank] @ right[:rank]
    for late in found:
        torch.testing.assert_close(late, best, rtol=0, atol=1e-9)


def test_what_the_formulas_are_not_of_is_refused() -> None:
    inward, outward, target = layers(0.5, 3, 3, 4)
    times = torch.tensor([1.0])
    with pytest.raises(ValueError, match="multiple of the identity"):
        balanced_network(inward, outward * torch.tensor([1.0, 2.0, 1.0]), target, times)
    with pytest.raises(ValueError, match="target has shape"):
        balanced_network(inward, outward, target.mT, times)
    with pytest.raises(ValueError, match="from 0"):
        balanced_network(inward, outward, target, -times)
    with pytest.raises(NonFiniteError, match="target is nan"):
        balanced_network(inward, outward, target * float("nan"), times)
    for strength, start in ((-1.0, 0.1), (1.0, 2.0), (1.0, 0.0), (float("nan"), 0.1)):
        with pytest.raises(ValueError, match="are needed"):
            aligned_mode(strength, start, times)
