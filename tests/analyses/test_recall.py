"""Recall: measured by the package's recurrences, expected by theory, and of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.geometry.recall_by_age import recall_by_age
from statescope.analyses.geometry.recall_capacity import KEYS, RULES, WriteRule, expected_error, recall_capacity
from statescope.probe.mixers import MLSTM, RWKV7, Attention, DeltaNet, GatedDeltaNet, GatedSlotAttention, LinearAttention, Mamba
from statescope.probe.tasks.base import generator_for


@pytest.mark.parametrize("rule", [*RULES.values(), WriteRule(1.7, -0.02), WriteRule(0.0, -0.1)], ids=str)
def test_theory_is_the_mean_of_what_is_measured_pair_by_pair(rule: WriteRule) -> None:
    """4000 states of 7 key channels, 11 pairs: each pair's error within five standard errors, and the norm with it."""
    size, pairs, states = 7, 11, 4000
    generator = generator_for(0)
    keys = KEYS["random"].draw(states, pairs, size, generator)
    values = torch.randn(states, pairs, 5, dtype=torch.float64, generator=generator) * 5**-0.5
    error = (keys @ rule.write(keys, values) - values).square().sum(-1)
    expected = expected_error(rule, pairs, size)
    off = (error.mean(0) - expected).abs() / (error.std(0) / states**0.5 + 1e-12)
    assert float(off.max()) < 5, (error.mean(0), expected)


def test_an_additive_state_errs_by_n_less_1_over_the_keys() -> None:
    for pairs in (1, 2, 9):
        np.testing.assert_allclose(expected_error(WriteRule(), pairs, 7).numpy(), (pairs - 1) / 7, rtol=1e-12, atol=1e-15)


def test_a_delta_rule_is_not_an_additive_state_that_forgets() -> None:
    """The wrong variant: what later keys take away, and beside it all interference of an additive state."""
    size, pairs = 7, 11
    kept = (1 - 1 / size) ** torch.arange(pairs - 1, -1, -1).double()
    wrong = (1 - kept).square() + (pairs - 1) / size
    right = expected_error(WriteRule(1.0), pairs, size)
    assert float(right[-1]) == pytest.approx(0, abs=1e-12) and float((wrong - right).abs().min()) > 0.2


def test_the_delta_rule_holds_as_many_orthonormal_pairs_as_key_channels() -> None:
    result = recall_capacity(pairs=(2, 5, 7, 14), key_size=7, value_size=5, states=60)
    orthonormal = result.select(rule="delta rule", keys="orthonormal").table
    assert (orthonormal["error"] < 1e-20).all() and orthonormal["pairs"].max() == 7
    reach = (result.table["high"] - result.table["low"]) * 2 / 3.92  # two standard errors
    assert ((result.table["error"] - result.table["expected"]).abs() <= 2 * reach + 1e-12).all()
    held = result.capacity().set_index(["rule", "keys"])
    assert held.loc[("additive", "random"), "expected"] == 2 and held.loc[("delta rule", "random"), "expected"] >= 5
    assert "delta rule, orthonormal keys: 7 of the pairs tried are held, 7 by theory" in result.summary()
    assert len(result.specification().panels) == 2
    for wrong in ({"pairs": (0,)}, {"pairs": ()}, {"key_size": 0}, {"value_size": 0}, {"states": 1}):
        with pytest.raises(ValueError, match="must be at least 1, and states="):
            recall_capacity(**wrong)
    with pytest.raises(ValueError, match="beta=3 must be from 0 to 2"):
        WriteRule(3)


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=9, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 9, (3, 12), generator=torch.Generator().manual_seed(0))


def test_recall_of_a_model_is_that_of_its_state_and_keys() -> None:
    model = small(DeltaNet(heads=2))
    result = recall_by_age(model, TOKENS)
    names = [f"blocks.1.attn.hook_{name}" for name in ("k", "v", "state")]
    _, cache = model.run_with_cache(TOKENS, names_filter=names, taps="last")
    k, v, state = (cache[name].detach() for name in names)
    cosines = [
        float(torch.cosine_similarity(state[b, 0, 1].T @ k[b, 12 - 1 - 4, 1], v[b, 12 - 1 - 4, 1], dim=0)) for b in range(3)
    ]
    assert result.value("cosine", layer=1, head=1, age=4) == pytest.approx(np.mean(cosines), abs=1e-9)
    assert result.table["recalled"].between(0, 1).all() and result.table["age"].max() == 11
    # A delta rule with beta near 1 gives back the latest value best.
    assert result.table[result.table["age"] == 0]["cosine"].mean() > result.table[result.table["age"] == 11]["cosine"].mean()


@pytest.mark.parametrize(
    "mixer", [GatedDeltaNet(heads=2, householders=2), RWKV7(heads=2), MLSTM(heads=2), LinearAttention(heads=2)]
)
def test_it_takes_every_matrix_state(mixer: Any) -> None:
    result = recall_by_age({"a": small(mixer)}, TOKENS)
    assert set(result.table["layer"]) == {0, 1} and result.table["cosine"].abs().max() <= 1 + 1e-9
    assert "gives back" in result.summary() and len(result.specification().panels) == 2


def test_a_model_without_a_state_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer of this model has the hooks k, v, state"):
        recall_by_age(small(Attention(heads=2)), TOKENS)
    for mixer in (GatedSlotAttention(heads=2), Mamba()):
        with pytest.raises(ValueError, match="no layer of these models has a state that is written along its keys"):
            recall_by_age(small(mixer), TOKENS)
