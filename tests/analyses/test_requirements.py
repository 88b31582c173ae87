"""What transitions would let a layer track: by the ranges that mixers have, and by eigenvalues that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.automata.requirements import tracking_requirements
from statescope.analyses.models import transitions_of
from statescope.probe.mixers import LRU, Attention, DeltaNet, LinearAttention, RetNet


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


def reflecting(mixer: Any) -> Model:
    """A delta rule whose steps go all the way from 0 to 2."""
    model = small(mixer, seed=1)
    with torch.no_grad():
        made: Any = model.mixer(0)
        made.project_beta.weight.mul_(8)
    return model


def found(mixer: Any, task: str, make: Any = small) -> Any:
    return tracking_requirements(make(mixer), torch.randint(0, 5, (2, 12))).select(task=task).table


def test_a_range_without_negative_eigenvalues_allows_no_parity() -> None:
    assert found(DeltaNet(heads=2, eigenvalue_range=(0.0, 1.0)), "parity")["modulus"].isna().all()
    assert found(DeltaNet(heads=2), "parity")["modulus"].notna().all()
    for mixer in (RetNet(heads=2), LinearAttention(heads=2)):
        assert found(mixer, "parity")["modulus"].isna().all() and not found(mixer, "modulo m > 2")["met"].any()


def test_one_reflection_turns_only_in_a_product_and_two_turn_at_once() -> None:
    one, two = DeltaNet(heads=2, key_size=3, value_size=3), DeltaNet(heads=2, key_size=3, value_size=3, householders=2)
    assert found(one, "one token turns", reflecting)["modulus"].isna().all()
    assert found(one, "modulo m > 2", reflecting)["modulus"].notna().any()
    assert found(two, "one token turns", reflecting)["modulus"].notna().any()


def test_eigenvalues_are_those_of_the_dense_products() -> None:
    model, tokens = reflecting(DeltaNet(heads=2, key_size=3, value_size=3)), torch.randint(0, 5, (2, 12))
    table = tracking_requirements(model, tokens).table
    [(_, transition)] = transitions_of(model, tokens)
    seen = 0
    for head in range(2):
        dense = transition.dense()[:, :, head].numpy()
        products = np.linalg.eigvals(dense[:, 1:] @ dense[:, :-1])
        moduli = np.abs(products[np.abs(products.imag) > 1e-6 * np.abs(products)]) ** 0.5
        row = table[(table["head"] == head) & (table["task"] == "modulo m > 2")].iloc[0]
        assert np.isnan(row["modulus"]) == (not len(moduli))
        if len(moduli):
            seen += 1
            assert row["modulus"] == pytest.approx(moduli.max(), rel=1e-6)
            assert row["half_life"] == pytest.approx(np.log(2) / -np.log(moduli.max()), rel=1e-5)
            assert row["met"] == (row["half_life"] >= 12)
    assert seen


def test_complex_transitions_turn_and_last_as_long_as_their_radius() -> None:
    model, tokens = small(LRU(state_size=6, radius=(0.99, 0.999))), torch.randint(0, 5, (2, 12))
    result = tracking_requirements(model, tokens)
    [(_, transition)] = transitions_of(model, tokens)
    largest = float(transition.eigenvalues().abs().max())
    assert result.table["modulus"].max() == pytest.approx(largest) and result.table["met"].all()
    assert "met by 1 of 1 heads" in result.summary() and len(result.specification().panels) == 3
    with pytest.raises(ValueError, match="linear transition"):
        tracking_requirements(small(Attention(heads=2)), tokens)
    with pytest.raises(ValueError, match="two or more"):
        tracking_requirements(model, tokens[:, :1])
