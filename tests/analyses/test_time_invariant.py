"""Time-invariant layers: the model's own numbers against its linear system, and each result against its theorem."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from statescope import Model, ModelConfig
from statescope.analyses.models import linear_systems_of
from statescope.analyses.time_invariant.balanced_truncation import balanced_truncation, largest_gap, replaced
from statescope.analyses.time_invariant.hankel_spectrum import hankel_spectrum
from statescope.analyses.time_invariant.hippo_bases import hippo_bases
from statescope.analyses.time_invariant.past_recovery import memory_curve, past_condition, past_recovery
from statescope.analyses.time_invariant.system_poles import system_poles
from statescope.analyses.time_invariant.system_response import system_response
from statescope.kernels.operators.linear_system import LinearSystem, UnstableSystemError
from statescope.probe.mixers import LRU, LSSL, S4D, S5, DeltaNet
from statescope.probe.tasks import Parity, generator_for

MIXERS = [LRU(state_size=5), S5(state_size=6), S4D(state_size=6), LSSL(state_size=5)]
LABELS = [mixer.kind for mixer in MIXERS]


def small(mixer: Any, layers: int = 1) -> Model:
    return Model(ModelConfig(vocabulary=2, width=6, layers=layers, mixer=mixer)).double().eval()


def tokens_of(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mixer", MIXERS, ids=LABELS)
def test_the_system_is_the_layer(mixer: Any) -> None:
    """A layer replaced by its own system gives the same logits; with a part of it left out it does not."""
    model, tokens = small(mixer, layers=2), tokens_of(2, 21)
    systems = dict(linear_systems_of(model))
    with torch.no_grad():
        expected = model(tokens)
        with replaced(model, systems):
            assert float((model(tokens) - expected).abs().max()) < 1e-6  # parameters of float32
        halved = {layer: LinearSystem(own.a, own.b, own.c / 2) for layer, own in systems.items()}
        with replaced(model, halved):
            assert float((model(tokens) - expected).abs().max()) > 1e-3
        assert torch.equal(model(tokens), expected)


@pytest.mark.parametrize("mixer", MIXERS, ids=LABELS)
def test_poles_are_the_eigenvalues_that_tokens_show(mixer: Any) -> None:
    model = small(mixer)
    _, cache = model.run_with_cache(tokens_of(1, 2), names_filter="blocks.0.attn.hook_transition")
    shown = cache["blocks.0.attn.hook_transition"].eigenvalues()[0, 0]
    table = system_poles(model).table
    for head in range(shown.shape[0]):
        own = table[table["system"] == head]
        found = (own["real"] + 1j * own["imaginary"]).to_numpy()
        distance = np.abs(shown[head].numpy()[:, None] - found).min(1)
        assert distance.max() < 1e-6 and len(found) in (shown.shape[1], 2 * shown.shape[1])
    np.testing.assert_allclose(table["half_life"], np.log(2) / -np.log(table["modulus"]), rtol=1e-9)


@pytest.mark.parametrize("mixer", MIXERS, ids=LABELS)
def test_every_result_says_and_draws_itself(mixer: Any) -> None:
    model = small(mixer)
    batch = Parity().batch(4, 12, "test", generator_for(0))
    for result in (
        system_poles(model),
        system_response(model, 16),
        hankel_spectrum(model),
        past_recovery(model, 16),
        balanced_truncation(model, batch, [1, 2]),
    ):
        assert result.summary().startswith("model, ") and all(panel.marks for panel in result.specification().panels)
        assert set(result.columns) == set(result.table.columns)


def test_the_frequency_response_is_the_transform_of_the_impulse_response() -> None:
    table = system_response(small(S4D(state_size=4, step=(0.2, 0.5))), 4000).table
    own = table[table["system"] == 3]
    impulse = own[own["view"] == "impulse"]
    signed = impulse["gain"].to_numpy() * np.cos(impulse["phase"].to_numpy())
    frequency = own[own["view"] == "frequency"]
    for row in frequency.iloc[[0, 17, 128]].itertuples():
        expected = np.sum(signed * np.exp(-1j * row.at * np.arange(4000)))
        assert row.gain * np.exp(1j * row.phase) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="at least 1 token"):
        system_response(small(LRU()), 0)


def test_truncated_models_lose_as_their_bound_says() -> None:
    model = small(S4D(state_size=8), layers=2)
    batch = Parity().batch(8, 20, "test", generator_for(0))
    result = balanced_truncation({"s4d": model}, batch, [2, 4, 8])
    layers = result.table[result.table["truncated"] != "all"]
    assert (layers["error"] <= layers["bound"] * (1 + 1e-9) + 1e-9).all() and (layers["states"] == 8).all()
    whole = result.table[result.table["order"] == 8]
    np.testing.assert_allclose(whole["loss"], whole["full"], atol=1e-7)
    fewer = result.table[(result.table["order"] == 2) & (result.table["truncated"] == "all")]
    assert abs(float(fewer["loss"].iloc[0]) - float(fewer["full"].iloc[0])) > 1e-6
    with pytest.raises(ValueError, match="give the orders"):
        balanced_truncation(model, batch, [])
    with pytest.raises(ValueError, match="order 9 must be from 1 to 8"):
        balanced_truncation(model, batch, [9])


def test_states_needed_are_counted_by_the_bound() -> None:
    result = hankel_spectrum(small(S4D(state_size=8)))
    for row in result.needed().itertuples():
        own = result.table[result.table["system"] == row.system]["value"].to_numpy()
        assert own[row.needed :].sum() <= 0.01 * own.sum() < own[row.needed - 1 :].sum() and row.states == 8


def ring(radius: float, size: int) -> LinearSystem:
    """A system whose poles are spread around a circle."""
    poles = radius * torch.exp(2j * torch.pi * (torch.arange(size // 2) + 0.5).double() / size)
    ones = torch.ones(1, size // 2, 1, dtype=torch.complex128)
    return LinearSystem.of_diagonal(poles[None], ones, ones.mT)


def test_the_memory_curve_sums_to_the_number_of_states() -> None:
    """Jaeger 2001: whatever the poles, if all states are reached."""
    system = ring(0.9, 6)
    curve = memory_curve(system, 600, 0.0)
    assert float(curve.sum()) == pytest.approx(6, rel=1e-9) and float(curve.max()) <= 1 + 1e-12
    a, b = system.a[0].numpy(), system.b[0].numpy()
    gramian = scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)
    for lag in (0, 5, 13):
        column = np.linalg.matrix_power(a, lag) @ b
        assert float(curve[0, lag]) == pytest.approx(float((column.T @ np.linalg.solve(gramian, column)).item()), rel=1e-8)
    # Noise takes most from what is oldest; without the Gramian, the wrong variant, nothing is conserved.
    assert float(memory_curve(system, 600, 0.1).sum()) < 5.5
    assert float((system.krylov(600).square().sum((-2, -1))).sum()) != pytest.approx(6, rel=0.1)


def test_the_memory_curve_is_what_regression_recovers() -> None:
    system = ring(0.8, 4)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(1, 40_000, 1, 1, dtype=torch.float64, generator=generator)
    states = LinearSystem(system.a, system.b, torch.eye(4, dtype=torch.float64)[None]).respond(u)[0, 100:, 0].numpy()
    curve = memory_curve(system, 8, 0.0)[0].numpy()
    for lag in range(8):
        wanted = u[0, 100 - lag : 40_000 - lag, 0, 0].numpy()
        weights, *_ = np.linalg.lstsq(states, wanted)
        assert 1 - np.var(wanted - states @ weights) / np.var(wanted) == pytest.approx(curve[lag], abs=0.02)


def test_conditions_by_where_the_poles_lie() -> None:
    """Roots of -1 make the map orthogonal; real poles make it a Vandermonde matrix that no float64 inverts at 24 inputs."""
    size = 24
    circle = past_condition(ring(1 - 1e-12, size), size)[0, -1]
    near = past_condition(ring(0.95, size), size)[0, -1]
    real = torch.linspace(0.5, 0.99, size, dtype=torch.float64)
    line = LinearSystem(torch.diag_embed(real[None]), torch.ones(1, size, 1).double(), torch.ones(1, 1, size).double())
    condition = past_condition(line, size)[0]
    assert float(circle) == pytest.approx(1, abs=1e-6) and 1 < float(near) < 10 and float(condition[-1]) == np.inf
    vandermonde = np.vander(real.numpy(), 6, increasing=True)
    assert float(condition[5]) == pytest.approx(np.linalg.cond(vandermonde), rel=1e-6)
    assert torch.isinf(past_condition(ring(0.9, 4), 9)[0, 4:]).all()  # 4 numbers hold no 5 inputs


def test_hippo_kernels_come_near_their_polynomials() -> None:
    def distances(size: int) -> dict[str, float]:
        table = hippo_bases(size=size).distances()
        return dict(zip(table["system"], table["distance"], strict=True))

    few, many = distances(16), distances(128)
    assert few["legs"] < 1e-6 and many["legs"] < 1e-6
    assert all(many[name] < 0.8 * few[name] and many[name] < 0.2 for name in ("legt", "fout"))
    result = hippo_bases(size=16)
    by_time = result.table.groupby(["system", "time"])["polynomial"]
    swapped = result.table.assign(polynomial=by_time.transform(lambda own: own.to_numpy()[::-1]))
    assert (type(result)(swapped, result.about).distances()["distance"] > 0.5).all()
    assert "legs" in result.summary() and len(result.specification().panels) == 3
    with pytest.raises(ValueError, match="state 16 must be from 0 to 15"):
        hippo_bases(size=16, states=(16,))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer of this model is a time-invariant state space"):
        system_poles(small(DeltaNet(heads=2)))
    model = small(LRU())
    with torch.no_grad():
        mixer: Any = model.mixer(0)
        mixer.nu.fill_(-60.0)  # |Lambda| = exp(-e^-60) is 1 in float64
    with pytest.raises(UnstableSystemError, match="a pole has modulus 1"):
        hankel_spectrum(model)
    with pytest.raises(ValueError, match="at least 1"):
        past_recovery(small(LRU()), 0)


def test_the_error_of_a_truncation_is_found_between_the_angles_of_a_grid() -> None:
    """Two modes that hardly decay, whose peaks no grid of a few hundred angles meets; the smaller is left out."""
    decay = torch.polar(torch.tensor([0.9999, 0.9999]).double(), torch.tensor([1.0, 2.0]).double())
    system = LinearSystem.of_diagonal(decay[None], torch.tensor([[[1.0], [0.1]]]), torch.ones(1, 1, 2)).double()
    small, sigma = system.balanced(2), system.hankel_singular_values()
    fine = torch.linspace(1.99, 2.01, 4001, dtype=torch.float64)
    exact = float((system.frequency_response(fine) - small.frequency_response(fine)).abs().max())
    found = float(largest_gap(system, small))
    assert found == pytest.approx(exact, rel=0.01)
    assert float(sigma[0, 2]) * (1 - 1e-6) <= found <= 2 * float(sigma[0, 2:].sum())
    grid = torch.linspace(0, math.pi, 513, dtype=torch.float64)
    assert float((system.frequency_response(grid) - small.frequency_response(grid)).abs().max()) < 0.5 * exact
