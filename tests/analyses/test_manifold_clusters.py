"""The coding rate within parts, doubly stochastic memberships, and parts found without labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from statescope.analyses.geometry.manifold_clusters import (
    coding_rate_within,
    doubly_stochastic,
    manifold_clusters,
    rate_reduction,
)
from statescope.analyses.ntk.measures import coding_rate


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def halves(count: int) -> Tensor:
    return torch.eye(2, dtype=torch.float64).repeat_interleave(count // 2, 0)


def test_one_part_has_the_rate_of_the_whole() -> None:
    z, precision = normalize(drawn(12, 5), dim=1), 0.4
    found = coding_rate_within(z, z.new_ones(12, 1), precision=precision)
    assert float(found) == pytest.approx(coding_rate(z @ z.mT, 12 * precision**2 / 5), rel=1e-12)
    assert float(rate_reduction(z, z.new_ones(12, 1), precision=precision)) == pytest.approx(0, abs=1e-12)


def test_two_lines_at_a_right_angle() -> None:
    """n / 2 vectors along each of two axes: R = log(1 + 1 / e^2) and R_c = 1/2 log(1 + 2 / e^2) in two dimensions."""
    z, precision = halves(10), 0.5
    within = 0.5 * math.log(1 + 2 / precision**2)
    assert float(coding_rate_within(z, halves(10), precision=precision)) == pytest.approx(within, rel=1e-12)
    saved = math.log(1 + 1 / precision**2) - within
    assert float(rate_reduction(z, halves(10), precision=precision)) == pytest.approx(saved, rel=1e-12)
    across = torch.eye(2, dtype=torch.float64).repeat(5, 1)  # a membership that mixes the lines saves nothing here, or loses
    assert float(rate_reduction(z, across, precision=precision)) < 0.1 * saved


def test_a_part_of_no_vectors_takes_none() -> None:
    z = normalize(drawn(8, 3), dim=1)
    empty = torch.cat([halves(8), z.new_zeros(8, 1)], 1)
    torch.testing.assert_close(coding_rate_within(z, empty), coding_rate_within(z, halves(8)), rtol=1e-12, atol=0)


def test_gradients_of_the_reduction() -> None:
    z, scores = drawn(6, 3).requires_grad_(), drawn(6, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, s: rate_reduction(normalize(z, dim=1), doubly_stochastic(s)), (z, scores))


def test_rows_and_columns_add_up_to_one() -> None:
    found = doubly_stochastic(drawn(7, 7), temperature=0.7, sweeps=200)
    for axis in (0, 1):
        torch.testing.assert_close(found.sum(axis), torch.ones(7, dtype=torch.float64), rtol=0, atol=1e-9)
    logs = found.log() - drawn(7, 7) / 0.7  # rows and columns were scaled, and nothing else
    interaction = logs - logs.mean(0) - logs.mean(1, keepdim=True) + logs.mean()
    torch.testing.assert_close(interaction, torch.zeros_like(interaction), rtol=0, atol=1e-9)


def arcs(each: int = 40) -> tuple[Tensor, Tensor]:
    """Two arcs in two planes of R^6 that lie side by side in part: no centre of either is nearer to all of its points."""
    time = torch.linspace(-1.2, 1.2, each, dtype=torch.float64)
    zero = torch.zeros_like(time)
    first = torch.stack([time.cos(), time.sin(), zero, zero, zero, zero], 1)
    second = torch.stack([zero, zero, time.cos(), time.sin(), zero, zero], 1)
    return torch.cat([first, second]) + 0.02 * drawn(2 * each, 6), torch.arange(2).repeat_interleave(each)


def test_arcs_are_told_apart_and_made_flat() -> None:
    states, arc = arcs()
    before = torch.get_rng_state()
    found = manifold_clusters(states, 2, steps=60)
    assert torch.equal(before, torch.get_rng_state())
    right = (torch.as_tensor(found.clusters) == arc).double().mean()
    assert max(right, 1 - right) == 1
    assert float((found.features[:40] @ found.features[40:].mT).abs().mean()) < 0.1
    assert found.reductions[-1] > 1.5 * found.reductions[0]
    torch.testing.assert_close(found.features.norm(dim=1), torch.ones(80, dtype=torch.float64))
    again = manifold_clusters(states, 2, steps=60)
    assert again.reductions == found.reductions
    assert (again.clusters == found.clusters).all()


def test_units_and_place_of_the_states_do_not_count() -> None:
    states, _ = arcs(10)
    found = manifold_clusters(states, 2, first_steps=3, steps=3)
    moved = manifold_clusters(100 * states + 7, 2, first_steps=3, steps=3)
    assert moved.reductions == pytest.approx(found.reductions, rel=1e-9)


@pytest.mark.parametrize(
    ("states", "parts", "message"),
    [
        (drawn(6), 2, "real and finite"),
        (drawn(6, 2) * math.nan, 2, "real and finite"),
        (drawn(6, 2), 1, "parts=1"),
        (drawn(3, 2), 2, "parts=2"),
        (torch.ones(6, 2), 2, "all alike"),
    ],
)
def test_what_cannot_be_told_apart(states: Tensor, parts: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        manifold_clusters(states, parts)


def test_what_is_no_membership() -> None:
    z = normalize(drawn(6, 2), dim=1)
    with pytest.raises(ValueError, match=r"\[n, parts\]"):
        rate_reduction(z, halves(8))
    with pytest.raises(ValueError, match="adds up to 1"):
        rate_reduction(z, 2 * halves(6))
    with pytest.raises(ValueError, match="adds up to 1"):
        rate_reduction(z, torch.tensor([[2.0, -1.0]], dtype=torch.float64).expand(6, 2))
