"""Directions that last: against the singular vectors of dense products, and on products that float64 does not hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from statescope import DeltaNet, GatedDeltaNet, Model, ModelConfig, Transition
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.lasting_directions import directions_of, lasting_directions
from statescope.probe.mixers import GRU, LRU, RWKV7, Attention, GatedLinearAttention, GateLoop


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("mixer", [DeltaNet, GatedDeltaNet, RWKV7, GatedLinearAttention, GateLoop])
def test_they_are_the_singular_vectors_of_the_dense_product(mixer: Any, size: int) -> None:
    model, tokens = small(mixer(heads=2, key_size=size)), torch.randint(0, 5, (2, 9))
    [(_, transition)] = transitions_of(model, tokens)
    result = lasting_directions(model, tokens, start=2, window=6, count=size)
    for sequence, head in ((0, 0), (1, 1)):
        product = np.eye(size)
        for matrix in transition.dense().numpy()[sequence, 2:8, head]:
            product = matrix @ product
        sigma = np.linalg.svd(product, compute_uv=False)
        where = {"sequence": sequence, "head": head}
        found = result.kept().query("sequence == @sequence and head == @head")
        np.testing.assert_allclose(found["exponent"], np.log(sigma) / 6, rtol=1e-7, atol=1e-9)
        before, after = (result.directions(side, **where) for side in ("before", "after"))
        np.testing.assert_allclose(product @ before, after * sigma, atol=1e-9)
        np.testing.assert_allclose(before.conj().T @ before, np.eye(size), atol=1e-9)
        np.testing.assert_allclose(after.conj().T @ after, np.eye(size), atol=1e-9)


def test_what_is_written_along_them_lasts_as_long_as_they_say() -> None:
    """A state along the first direction before a stretch comes out along the first after it, and no other comes out larger."""
    model, tokens = small(GatedDeltaNet(heads=1, key_size=4)), torch.randint(0, 5, (1, 12))
    [(_, transition)] = transitions_of(model, tokens)
    result = lasting_directions(model, tokens, count=1)
    state = torch.from_numpy(result.directions("before")).double()
    others = torch.nn.functional.normalize(torch.randn(4, 200).double(), dim=0)
    for t in range(12):
        state, others = (transition[0, t, 0].matmat(each) for each in (state, others))
    exponent = float(result.kept()["exponent"].iloc[0])
    assert float(state.norm()) == pytest.approx(math.exp(12 * exponent)) and float(others.norm(dim=0).max()) < float(state.norm())
    assert abs(float((state[:, 0] / state.norm()).dot(torch.from_numpy(result.directions("after"))[:, 0]))) == pytest.approx(1)


@pytest.mark.parametrize("by_channel", [False, True])
def test_a_product_that_underflows_has_its_exponents(by_channel: bool) -> None:
    decays = torch.tensor([-400.0, -300.0, -350.0]) if by_channel else torch.tensor([-300.0])
    log_decay = decays.double().expand(1, 8, 1, -1)
    logs, _, v = directions_of(Transition.diagonal_only(log_decay, 3), axis=1)
    assert logs[0, 0].tolist() == sorted((8 * decays.expand(3)).tolist(), reverse=True)
    if by_channel:
        assert v[0, 0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_reflections_under_a_decay_that_underflows_keep_every_direction() -> None:
    keys = torch.nn.functional.normalize(torch.randn(1, 8, 1, 1, 3, dtype=torch.float64), dim=-1)
    beta = torch.full((1, 8, 1, 1), 2.0, dtype=torch.float64)
    for decay in (0.0, -300.0):
        logs, _, _ = directions_of(Transition.householders(keys, beta, torch.full((1, 8, 1), decay, dtype=torch.float64)), axis=1)
        torch.testing.assert_close(logs, torch.full_like(logs, 8 * decay), rtol=1e-12, atol=1e-12)


def test_an_erased_direction_is_left_out() -> None:
    keys = torch.eye(3, dtype=torch.float64)[:1].expand(1, 4, 1, 1, 3)
    erasing = Transition.householders(keys, torch.ones(1, 4, 1, 1, dtype=torch.float64))
    logs, _, v = directions_of(erasing, axis=1)
    assert logs[0, 0].tolist() == [0.0, 0.0, -math.inf] and v[0, 0, 0, :2].abs().max() < 1e-12


def test_a_stretch_that_erases_everything_says_so() -> None:
    """A RecurrentGemma forgets all before its first token; an LRU with its poles at 0 does at each."""
    model, tokens = small(LRU(state_size=2)), torch.randint(0, 5, (1, 3))
    with torch.no_grad():
        model.mixer(0).nu.fill_(math.inf)
    result = lasting_directions(model, tokens)
    assert result.table["exponent"].eq(-math.inf).all() and result.table["half_life"].eq(0).all()
    assert "half-life of 0 to 0" in result.summary()
    assert result.specification().panels[0].marks[0].rows == ["1: erased", "2: erased"]


def test_of_models_with_complex_states_and_cells() -> None:
    tokens = torch.randint(0, 5, (2, 10))
    result = lasting_directions({"lru": small(LRU(state_size=3)), "cell": small(GRU(heads=2))}, tokens, jacobians=True)
    assert set(result.table["model"]) == {"lru", "cell"} and len(result.specification().panels) == 4 and result.summary()
    assert result.select(model="lru").kept()["cosine"].to_numpy() == pytest.approx(1)  # channels turn, and stay what they are
    with pytest.raises(ValueError, match="choose one of each"):
        result.directions(model="cell")


def test_what_is_refused() -> None:
    model, tokens = small(DeltaNet(heads=2)), torch.randint(0, 5, (1, 6))
    for wrong in ({"start": 6}, {"window": 7}, {"start": -1}, {"window": 0}, {"start": 3, "window": 4}):
        with pytest.raises(ValueError, match="must lie within the 6 tokens"):
            lasting_directions(model, tokens, **wrong)
    with pytest.raises(ValueError, match="count=0"):
        lasting_directions(model, tokens, count=0)
    with pytest.raises(ValueError, match="linear transition"):
        lasting_directions(small(Attention(heads=2)), tokens)
    assert lasting_directions(model, tokens[:, :1]).table["half_life"].gt(0).all()
