"""Groups as matrices, reflections and characters, against their own laws and printed tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statescope import Transition
from statescope.analyses.automata.groups import (
    characters,
    conjugacy_classes,
    irreducible_power,
    reflections_needed,
    reflections_of,
    representation,
)
from statescope.probe.tasks.word_problem import elements, multiplication

GROUPS = ["Z2", "Z3", "Z5", "S3", "A4", "S4", "A5", "S5"]


@pytest.mark.parametrize("group", GROUPS)
def test_a_representation_composes_as_the_group_does(group: str) -> None:
    rho, table = representation(group), multiplication(group)
    size = rho.shape[-1]
    torch.testing.assert_close(rho[:, None] @ rho, rho[table], rtol=0, atol=1e-9)
    torch.testing.assert_close(rho @ rho.mT, torch.eye(size).double().expand_as(rho), rtol=0, atol=1e-9)
    distances = torch.cdist(rho.flatten(1), rho.flatten(1)) + torch.eye(len(rho))
    assert distances.min() > 0.3  # faithful
    determinant = torch.linalg.det(rho)
    if group in ("A4", "S4", "A5"):
        assert size == 3 and determinant.min() > 0.99


@pytest.mark.parametrize(("group", "needed"), [("Z2", 1), ("Z3", 2), ("S3", 2), ("A4", 2), ("S4", 2), ("A5", 2), ("S5", 4)])
def test_elements_are_products_of_as_few_reflections_as_can_be(group: str, needed: int) -> None:
    rho = representation(group)
    assert reflections_needed(group) == needed
    for matrix in rho[:: max(1, len(rho) // 12)]:
        keys = reflections_of(matrix)
        assert len(keys) == np.linalg.matrix_rank((matrix - torch.eye(len(matrix))).numpy(), tol=1e-6)
        if len(keys):
            product = Transition.householders(keys, torch.full((len(keys),), 2.0).double()).dense()
            torch.testing.assert_close(product, matrix, rtol=0, atol=1e-9)
            if len(keys) > 1:  # in the other order they are the inverse
                wrong = Transition.householders(keys.flip(0), torch.full((len(keys),), 2.0).double()).dense()
                torch.testing.assert_close(wrong, matrix.mT, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="only an orthogonal matrix"):
        reflections_of(torch.ones(2, 2).double())


@pytest.mark.parametrize("group", GROUPS)
def test_characters_are_orthonormal_and_as_many_as_classes(group: str) -> None:
    found = torch.stack(list(characters(group).values()))
    order = found.shape[1]
    classes = conjugacy_classes(group)
    assert len(found) == int(classes.max()) + 1
    gram = found @ found.mH / order
    torch.testing.assert_close(gram, torch.eye(len(found)).to(gram), rtol=0, atol=1e-8)
    degrees = found[:, 0].real
    assert float(degrees.square().sum()) == pytest.approx(order)
    assert all(float((found[:, classes == c] - found[:, classes == c][:, :1]).abs().max()) < 1e-8 for c in classes.unique())


def test_printed_tables() -> None:
    degrees = {group: [round(float(value[0].real)) for value in characters(group).values()] for group in GROUPS}
    assert degrees["S3"] == [1, 1, 2] and degrees["S4"] == [1, 1, 2, 3, 3] and degrees["A4"] == [1, 1, 1, 3]
    assert degrees["A5"] == [1, 3, 3, 4, 5] and degrees["S5"] == [1, 1, 4, 4, 5, 5, 6]
    sign = characters("S5")["1b"].real
    parity = torch.tensor([round(float(np.linalg.det(np.eye(5)[list(g)]))) for g in elements("S5")]).double()
    torch.testing.assert_close(sign, parity, rtol=0, atol=1e-8)
    golden = (1 + 5**0.5) / 2
    values = {round(float(value), 6) for value in characters("A5")["3a"].real}
    assert values == {round(value, 6) for value in (3.0, -1.0, 0.0, golden, 1 - golden)}


def test_power_lies_where_a_representation_is() -> None:
    for group, name in (("S3", "2"), ("S4", "3b"), ("S4", "3a"), ("A5", "3a"), ("A5", "3b")):
        power = irreducible_power(representation(group), group)
        if power[name] > 0.5:
            assert power[name] == pytest.approx(1)
        assert sum(power.values()) == pytest.approx(1)
        assert max(power.values()) == pytest.approx(1)
    sign = torch.linalg.det(representation("S5"))[:, None, None]
    assert irreducible_power(sign, "S5")["1b"] == pytest.approx(1)
    mixed = torch.randn(6, 3, 3, dtype=torch.float64)
    power = irreducible_power(mixed, "S3")
    assert sum(power.values()) == pytest.approx(1) and min(power.values()) > 0.01
