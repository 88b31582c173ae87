"""Cells: Jacobians as transitions, Lyapunov exponents against their determinant, fixed points that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope import Model, ModelConfig, transition_spectrum
from statescope.analyses.cells.fixed_points import fixed_points, kind_of, search
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.by_label import spectrum_by_label
from statescope.analyses.spectra.memory_horizon import memory_horizon
from statescope.analyses.spectra.transition_measures import transition_measures
from statescope.analyses.spectra.window_spectrum import window_spectrum
from statescope.kernels.cell_scan import cell_scan
from statescope.probe.mixers import GRU, LSTM, SLSTM, DeltaNet, Elman

TOKENS = torch.randint(0, 3, (2, 9), generator=torch.Generator().manual_seed(0))
CELLS = [Elman, GRU, LSTM, SLSTM]


def small(mixer: Any, layers: int = 1, width: int = 6) -> Model:
    return Model(ModelConfig(vocabulary=3, width=width, layers=layers, mixer=mixer)).double().eval()


@pytest.mark.parametrize("cell", CELLS)
def test_jacobians_are_the_differences_of_a_step(cell: Any) -> None:
    model = small(cell(heads=2))
    mixer: Any = model.mixer(0)
    [(_, transition)] = transitions_of(model, TOKENS, jacobians=True)
    names = ["blocks.0.attn.hook_inputs", "blocks.0.attn.hook_state"]
    _, cache = model.run_with_cache(TOKENS, names_filter=names, taps=list(range(9)))
    inputs, states = (cache[name].detach() for name in names)
    at, step = 4, 1e-6
    before = states[:, at - 1]
    numeric = []
    for index in range(before[0, 0].numel()):
        moved = torch.zeros_like(before).flatten(2)
        moved[..., index] = step
        moved = moved.unflatten(-1, before.shape[2:])
        ends = [mixer.step(inputs[:, at], before + sign * moved)[0].flatten(2) for sign in (1, -1)]
        numeric.append((ends[0] - ends[1]) / (2 * step))
    expected = torch.stack(numeric, dim=-1)
    assert float((transition.dense()[:, at] - expected).abs().max()) < 1e-7 * (1 + float(expected.abs().max()))


def test_every_spectral_analysis_takes_jacobians() -> None:
    """A hybrid of a cell and a delta rule has both layers with them, and the linear one alone without."""
    model = small((GRU(heads=2), DeltaNet(heads=2)), layers=2)
    results = (
        lambda **how: transition_spectrum(model, TOKENS, **how),
        lambda **how: transition_measures(model, TOKENS, **how),
        lambda **how: memory_horizon(model, TOKENS, **how),
        lambda **how: window_spectrum(model, TOKENS, 3, **how),
        lambda **how: spectrum_by_label(model, TOKENS, {"token": TOKENS}, **how),
    )
    for analyse in results:
        assert set(analyse().table["layer"]) == {1} and set(analyse(jacobians=True).table["layer"]) == {0, 1}
    with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
        memory_horizon(small(GRU(heads=2)), TOKENS)


@pytest.mark.parametrize("cell", [Elman, GRU])
def test_exponents_of_a_cell_sum_to_the_mean_log_determinant(cell: Any) -> None:
    model = small(cell(heads=2))
    table = memory_horizon(model, TOKENS, jacobians=True).table
    [(_, transition)] = transitions_of(model, TOKENS, jacobians=True)
    logs = torch.linalg.slogdet(transition.dense()).logabsdet.mean(1)
    for (sequence, head), own in table.groupby(["sequence", "head"]):
        assert own["exponent"].sum() == pytest.approx(float(logs[sequence, head]), abs=1e-11)
    # The recurrent matrix alone, the wrong variant, is orthogonal at the start and says that nothing decays.
    mixer: Any = model.mixer(0)
    assert float(torch.linalg.slogdet(mixer.recurrent[:, 0]).logabsdet.abs().max()) < 1e-5 and table["exponent"].max() < -0.05


def test_exponents_say_how_two_trajectories_part() -> None:
    """The largest exponent of a long sequence is the growth of the distance of two nearby states, in an Elman cell."""
    model = small(Elman(heads=1), width=5)
    mixer: Any = model.mixer(0)
    tokens = torch.randint(0, 3, (1, 60), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        mixer.recurrent.mul_(1.6)
    _, cache = model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_inputs")
    inputs = cache["blocks.0.attn.hook_inputs"].detach()
    distances = []
    for seed in range(6):
        nudge = 1e-9 * torch.randn(1, 1, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ends = [
            cell_scan("elman", inputs, mixer.recurrent.detach(), mixer.bias.detach(), initial_state=start).final_state
            for start in (torch.zeros_like(nudge), nudge)
        ]
        distances.append(math.log(float((ends[1] - ends[0]).norm() / nudge.norm())) / 60)
    largest = memory_horizon(model, tokens, jacobians=True).value("exponent", index=1)
    assert max(distances) <= largest + 0.05 and max(distances) == pytest.approx(largest, abs=0.05)


def one_dimensional(weight: float) -> Any:
    """An Elman cell of one channel, h = tanh(weight h)."""
    model = small(Elman(heads=1, value_size=1))
    mixer: Any = model.mixer(0)
    with torch.no_grad():
        mixer.recurrent.fill_(weight)
    return mixer


def begin(count: int) -> Tensor:
    return torch.linspace(-2, 2, count, dtype=torch.float64)[:, None, None, None]


def test_a_cell_that_keeps_a_bit_has_two_that_attract_and_one_that_does_not() -> None:
    [[(points, shares, values)]] = search(one_dimensional(2.0), torch.zeros(1, 1, 1, 1), begin(17))
    found = sorted(zip(points.flatten().tolist(), values.real.flatten().tolist(), strict=True))
    root = 0.9575040240772687  # of h = tanh 2 h
    np.testing.assert_allclose([point for point, _ in found], [-root, 0, root], atol=1e-9)
    np.testing.assert_allclose([value for _, value in found], [2 * (1 - root**2), 2, 2 * (1 - root**2)], rtol=1e-8)
    assert [kind_of(value.abs()) for value in values[points.flatten().argsort()]] == ["attracts", "repels", "attracts"]
    assert float(shares.sum()) == pytest.approx(1)
    [[(points, _, values)]] = search(one_dimensional(0.5), torch.zeros(1, 1, 1, 1), begin(17))
    assert points.abs().max() < 1e-9 and kind_of(values[0].abs()) == "attracts"
    # Where the last state of a run is taken for a fixed point, the wrong variant, the one that repels is never found.
    state = begin(16)
    for _ in range(200):
        state, _ = one_dimensional(2.0).step(torch.zeros(16, 1, 1, 1), state)
    assert float(state.abs().min()) > 0.9


def test_a_marginal_fixed_point_is_counted_once() -> None:
    """h = tanh h comes to rest at 0 alone, so slowly that Newton's method stops all around it."""
    [[(points, _, values)]] = search(one_dimensional(1.0), torch.zeros(1, 1, 1, 1), begin(16))
    assert len(points) == 1 and float(points.abs().max()) < 1e-2 and kind_of(values[0].abs()) in ("marginal", "attracts")


@pytest.mark.parametrize("cell", CELLS)
def test_fixed_points_rest_and_kinds_are_those_of_their_jacobians(cell: Any) -> None:
    model = small(cell(heads=2))
    mixer: Any = model.mixer(0)
    drives = torch.randn(2, 2, mixer.axis_sizes["gate"], 3, generator=torch.Generator().manual_seed(0))
    starts = torch.rand(12, 2, mixer.axis_sizes["part"], 3, generator=torch.Generator().manual_seed(1)).double() + 0.1
    for drive, by_head in zip(drives, search(mixer, drives, starts), strict=True):
        for head, (points, shares, _) in enumerate(by_head):
            assert 0 < float(shares.sum()) <= 1 + 1e-12
            states = torch.zeros(len(points), 2, *starts.shape[2:], dtype=torch.float64)
            states[:, head] = points.unflatten(-1, starts.shape[2:])
            after, _ = mixer.step(drive.expand(len(points), *drive.shape), states)
            assert float((after - states)[:, head].abs().max()) < 1e-8 * (1 + float(states.abs().max()))


def test_the_result_of_a_model() -> None:
    result = fixed_points(small((LSTM(heads=2), DeltaNet(heads=2)), layers=2), TOKENS, starts=12, held=2)
    assert set(result.table["layer"]) == {0} and set(result.table["token"]) <= {"none", "0", "1", "2"}
    assert len(set(result.table["token"])) == 3 and (result.table["share"] > 0).all()
    assert "fixed points a head" in result.summary() and len(result.specification().panels) == 2
    assert ((result.table["radius"] < 1) == (result.table["kind"] == "attracts")).all()
    with pytest.raises(ValueError, match="no layer of this model is a cell"):
        fixed_points(small(DeltaNet(heads=2)), TOKENS)
