"""Distances between distributions of phases: exact cases, scipy's assignment, and the bounds between them."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from statescope.analyses.spectra.circular_transport import (
    TURN,
    arc,
    circular_distance,
    circular_embedding,
    embedded_distance,
)


def drawn(*size: int, seed: int = 0) -> Tensor:
    return TURN * torch.rand(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assigned(first: Tensor, second: Tensor) -> float:
    """By an assignment problem on squared arcs."""
    costs = arc(first[:, None] - second).square().numpy()
    return float(costs[linear_sum_assignment(costs)].mean()) ** 0.5


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_the_exact_distance_is_the_best_assignments(n: int) -> None:
    for seed in range(10):
        first, second = drawn(n, seed=seed), drawn(n, seed=100 + seed) / (1 + seed)
        assert float(circular_distance(first, second)) == pytest.approx(assigned(first, second), abs=1e-12)


def test_two_points_lie_an_arc_apart() -> None:
    """Across the cut of the angles too, and over any number of turns."""
    for first, second, expected in [(0.1, TURN - 0.1, 0.2), (1.0, 4.0, 3.0), (0.0, math.pi, math.pi), (1.0, 1.0 + 3 * TURN, 0.0)]:
        points = torch.tensor([[first], [second]], dtype=torch.float64)
        one, other = circular_embedding(points)
        assert float(embedded_distance(one, other)) == pytest.approx(expected, abs=1e-12)
        assert float(circular_distance(*points)) == pytest.approx(expected, abs=1e-12)


def test_even_phases_do_not_move() -> None:
    phases = TURN * (torch.arange(64, dtype=torch.float64) + 0.3) / 64
    assert float(circular_embedding(phases).abs().max()) <= TURN / 128 + 1e-9


def test_the_embedding_is_a_transport() -> None:
    """Moved by it, even phases are the distribution; no transport of them costs less, whatever the cut."""
    for seed in range(5):
        phases = drawn(32, seed=seed) / 2
        moved = circular_embedding(phases, points=320)
        even = TURN * (torch.arange(320, dtype=torch.float64) + 0.5) / 320
        assert float(circular_distance(even + moved, phases.repeat_interleave(10))) < 0.05
        own = float(moved.square().mean().sqrt())
        assert own == pytest.approx(float(circular_distance(even, phases.repeat_interleave(10))), rel=0.01)


def test_the_embedding_turns_with_the_phases() -> None:
    phases = drawn(20)
    turned = circular_embedding(phases + TURN * 5 / 100, points=100)
    torch.testing.assert_close(turned, circular_embedding(phases, points=100).roll(5), rtol=0, atol=1e-9)


def test_the_embedded_distance_is_never_below_the_exact_one() -> None:
    for seed in range(20):
        first, second = drawn(40, seed=seed) / (1 + seed % 4), drawn(40, seed=50 + seed) / (1 + seed % 3)
        own = embedded_distance(*(circular_embedding(x, points=4000) for x in (first, second)))
        assert float(own) >= float(circular_distance(first, second)) - 1e-3


def test_weights_are_repeated_phases() -> None:
    phases, counts = drawn(6), torch.tensor([1, 3, 0, 2, 5, 1])
    weighed = circular_embedding(phases, weights=counts.double(), points=97)
    torch.testing.assert_close(weighed, circular_embedding(phases.repeat_interleave(counts), points=97), rtol=0, atol=1e-9)


def test_many_distributions_at_once() -> None:
    phases = drawn(3, 4, 10)
    both = circular_embedding(phases, points=32)
    assert both.shape == (3, 4, 32)
    torch.testing.assert_close(both[1, 2], circular_embedding(phases[1, 2], points=32))
    assert circular_distance(phases[:, None], phases[None]).shape == (3, 3, 4)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="phases must be finite"):
        circular_embedding(torch.tensor([0.0, torch.nan]))
    for weights in ([-1.0, 2.0], [0.0, 0.0], [torch.inf, 1.0]):
        with pytest.raises(ValueError, match="weights must be finite"):
            circular_embedding(torch.zeros(2), weights=torch.tensor(weights))
    with pytest.raises(ValueError, match="as many phases, got 2 and 3"):
        circular_distance(torch.zeros(2), torch.zeros(3))
