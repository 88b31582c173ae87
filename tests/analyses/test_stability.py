"""Bounds of the joint spectral radius on sets where it is known, and the product of RWKV-7 transitions that grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig, Transition
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.stability import joint_spectral_radius, stability
from statescope.probe.mixers import RWKV7, DeltaNet, GatedDeltaNet, KimiDeltaAttention
from statescope.probe.results.figure import Ranges


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


def test_a_pair_whose_radius_is_known() -> None:
    """[[1, 1], [0, 1]] and its transpose have radius 1 each, and the golden ratio together: their product has its square."""
    pair = torch.tensor([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    low, high, witness = joint_spectral_radius(pair, 6)
    golden = (1 + 5**0.5) / 2
    assert low == pytest.approx(golden) and golden <= high < golden * 1.02 and sorted(witness) == [0, 1]
    # The radii of single matrices, the wrong variant, say that nothing grows.
    assert joint_spectral_radius(pair, 1)[0] == pytest.approx(1)


def test_commuting_and_normal_sets_have_the_largest_radius() -> None:
    turned = [np.diag([0.9, 0.5]), np.diag([0.3, 0.8]), 0.7 * np.array([[0.0, -1.0], [1.0, 0.0]])]
    low, high, witness = joint_spectral_radius(torch.from_numpy(np.stack(turned)), 3)
    assert low == pytest.approx(0.9) and high == pytest.approx(0.9) and witness == (0,)


def test_rwkv7_transitions_of_radius_1_whose_product_grows_by_half() -> None:
    keys = torch.tensor([[0, -0.5, -0.568, -0.654], [0, -0.572, 0.649, -0.502], [0, -0.653, -0.504, 0.566]], dtype=torch.float64)
    rate = torch.tensor([[0.939, 0.999, 0.001, 0], [0.392, 0, 0, 0.999], [0.286, 0, 0.999, 0]], dtype=torch.float64)
    decay = torch.tensor([[0.975, 1, 0.999, 1], [0.845, 1, 1, 1], [0.926, 1, 1, 1]], dtype=torch.float64)
    keys = torch.nn.functional.normalize(keys, dim=-1)
    transition = Transition.diagonal_plus_low_rank(keys, -rate * keys, decay.log())
    low, high, witness = joint_spectral_radius(transition.dense(), 3)
    assert transition.eigenvalues().abs().max() < 1 + 1e-3
    assert low**3 == pytest.approx(1.503, abs=0.01) and len(set(witness)) == 3 and high >= low
    growth = torch.eye(4, dtype=torch.float64)
    for index in [*witness] * 20:
        growth = transition.dense()[index] @ growth
    assert float(growth.norm()) > 0.5 * low**60


@pytest.mark.parametrize("mixer", [DeltaNet(heads=2, householders=2), GatedDeltaNet(heads=2), KimiDeltaAttention(heads=2)])
def test_delta_rules_are_certified(mixer: Any) -> None:
    result = stability(small(mixer), torch.randint(0, 5, (2, 20)), transitions=6)
    assert set(result.table["verdict"]) == {"contraction"} and (result.table["high"] <= 1 + 1e-9).all()
    assert (result.table["low"] <= result.table["high"] + 1e-12).all()
    assert "contraction in 2 of 2 heads" in result.summary() and result.specification().panels[0].level == (1.0, "no growth")
    assert isinstance(result.specification().panels[0].marks[0], Ranges), "bounds, of which the middle says nothing"


def test_a_token_that_grows_by_itself_is_a_witness_whatever_norms_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six nilpotent tokens of norm 3, and one of norm and radius 1.5: of the three of the largest norm no product grows."""
    nilpotent, grows = torch.tensor([[0.0, 3.0], [0.0, 0.0]]), 1.5 * torch.eye(2)
    matrices = torch.stack([nilpotent] * 4 + [grows] + [nilpotent] * 2)[None, :, None].double()
    shown = Transition(torch.zeros_like(matrices[..., 0]), matrices, torch.eye(2, dtype=torch.float64).expand(matrices.shape))
    monkeypatch.setattr("statescope.analyses.spectra.stability.transitions_of", lambda model, tokens: [(0, shown)])
    [row] = stability(small(DeltaNet(heads=1)), torch.zeros(1, 7, dtype=torch.long), transitions=3).table.itertuples()
    assert (row.low, row.witness, row.verdict) == (pytest.approx(1.5), "0:4", "grows") and row.low <= row.high <= row.norm


def test_a_model_that_grows_has_a_witness_of_its_own_tokens() -> None:
    """An RWKV-7 layer at extreme settings: the witness's product, made of the tokens that it names, has the radius it says."""
    model = small(RWKV7(heads=2, key_size=4, value_size=4))
    with torch.no_grad():
        mixer: Any = model.mixer(0)
        mixer.rate.outward.weight.mul_(60)
        mixer.decay.bias.fill_(-9)
    tokens = torch.randint(0, 5, (2, 20))
    result = stability(model, tokens, transitions=12)
    [(_, transition)] = transitions_of(model, tokens)
    for row in result.table.itertuples():
        matrix = torch.eye(4, dtype=torch.float64)
        places = [tuple(map(int, place.split(":"))) for place in row.witness.split()]
        for sequence, position in places:
            matrix = transition.dense()[sequence, position, row.head] @ matrix
        assert float(torch.linalg.eigvals(matrix).abs().max()) ** (1 / len(places)) == pytest.approx(row.low)
        assert row.verdict == ("grows" if row.low > 1 + 1e-9 else "open") and row.norm > 1
    with pytest.raises(ValueError, match="more than 20000; take fewer"):
        stability(model, tokens, transitions=40)
    for wrong in ({"transitions": 0}, {"longest": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            stability(model, tokens, **wrong)
