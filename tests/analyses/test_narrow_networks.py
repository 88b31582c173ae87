"""Wide recurrences rewritten as deep networks of the least width, and what one unit a layer cannot fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from statescope.analyses.cells.narrow_networks import (
    NarrowNetwork,
    WideRecurrence,
    monotone_floor,
    narrow_network,
    running_maximum,
)
from statescope.kernels.arguments import NonFiniteError


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inputs(*size: int, seed: int = 9) -> Tensor:
    return torch.rand(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def wide(d_x: int, d_y: int, sums: int = 3, units: int = 5) -> WideRecurrence:
    decays = torch.linspace(0, 0.9, sums, dtype=torch.float64)
    return WideRecurrence(
        decays, inputs(sums, d_x), drawn(units, sums), drawn(units, seed=1), drawn(d_y, units, seed=2), drawn(d_y, seed=3)
    )


def test_sums_of_the_past() -> None:
    own, x = wide(2, 1), inputs(2, 6, 2)
    powers = own.decays ** torch.arange(5, -1, -1, dtype=torch.float64)[:, None]  # [T, K]
    torch.testing.assert_close(own.sums(x)[:, -1], torch.einsum("tk,btd,kd->bk", powers, x, own.inputs))


@pytest.mark.parametrize(("d_x", "d_y"), [(1, 1), (2, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("length", [1, 8, 64])
def test_the_deep_network_is_the_wide_one(d_x: int, d_y: int, length: int) -> None:
    own, x = wide(d_x, d_y), inputs(3, length, d_x)
    network = narrow_network(own)
    assert (network.width, network.depth) == (d_x + d_y + 2, 5 * 4)
    torch.testing.assert_close(network(x), own(x), rtol=1e-10, atol=1e-10)
    assert float((own(x)[:, -1] - own(x[:, -1:])[:, 0]).abs().max()) > 0.1 or length == 1  # the past is read


def test_a_network_without_memory_is_another() -> None:
    own, x = wide(1, 1), inputs(3, 8, 1)
    network = narrow_network(own)
    with torch.no_grad():
        for _, recurrent, *_ in network.layers.all_weights:
            recurrent.zero_()
        assert float((network(x) - own(x)).abs().max()) > 0.1


def test_extreme_inputs_stay_inside() -> None:
    """Places are kept above their least values by no more than the domain needs: all zeros and all ones are computed too."""
    own = wide(1, 1)
    for x in (torch.zeros(1, 200, 1, dtype=torch.float64), torch.ones(1, 200, 1, dtype=torch.float64)):
        torch.testing.assert_close(narrow_network(own)(x), own(x), rtol=1e-10, atol=1e-10)


def test_running_maximum() -> None:
    x = inputs(4, 30, 1)
    torch.testing.assert_close(running_maximum()(x), x.cummax(1).values)
    assert running_maximum().width == 2


def test_floor_of_monotone_fits() -> None:
    """A tent has the mean as its best monotone fit, by symmetry; a ramp has itself, and two ramps of both directions do not."""
    tent = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    assert monotone_floor(tent) == pytest.approx((1 / 6) ** 0.5)  # 0, 1/2, 1/2
    ramp = torch.arange(5, dtype=torch.float64)[None]
    assert monotone_floor(ramp) == monotone_floor(-ramp) == 0
    assert monotone_floor(torch.cat([ramp, -ramp])) == pytest.approx(1.0)  # of one of them, with variance 2


def test_a_chain_of_units_is_no_better_than_the_floor() -> None:
    """Networks of width 1 trained on a tent of the last input stay above it."""
    last = torch.linspace(0, 1, 41, dtype=torch.float64)
    tent = 1 - (2 * last - 1).abs()
    floor, errors = monotone_floor(tent[None]), []
    for seed in range(3):
        torch.manual_seed(seed)
        network = NarrowNetwork(1, 1, 3, 1)
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(100):
            error = (network(last[:, None, None])[:, 0, 0] - tent).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        errors.append(float(error.detach()) ** 0.5)
    assert floor > 0.15
    assert floor <= min(errors) < 2 * floor


def test_what_is_refused() -> None:
    own = wide(1, 1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        own(inputs(2, 4, 1) + 1)
    with pytest.raises(ValueError, match="less than 1"):
        replace(own, decays=own.decays + 0.5)
    with pytest.raises(ValueError, match="not negative"):
        replace(own, inputs=-own.inputs)
    with pytest.raises(ValueError, match=r"must be \[K\]"):
        replace(own, biases=own.biases[1:])
    with pytest.raises(ValueError, match="pasts, last inputs"):
        monotone_floor(own.biases)
    with pytest.raises(ValueError, match="one at least"):
        monotone_floor(torch.zeros(0, 3))
    with pytest.raises(NonFiniteError, match="targets is nan"):
        monotone_floor(torch.tensor([[0.0, float("nan")]]))
