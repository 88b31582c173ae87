"""The eigenvalues of group elements: on transitions that are the group, and on those that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import DeltaNet, Model, ModelConfig, Transition
from statescope.analyses.automata.element_spectra import element_spectra
from statescope.analyses.automata.expressivity import tracking_tokens
from statescope.analyses.automata.groups import element_names, element_orders, representation
from statescope.analyses.automata.results.element_spectra import ElementSpectra
from statescope.probe.mixers import Attention, GateLoop
from statescope.probe.tasks import WordProblem


@pytest.mark.parametrize("group", ["Z2", "Z5", "Z6", "S3", "A4", "S4", "A5", "S5"])
def test_orders_are_those_of_the_matrices(group: str) -> None:
    for matrix, order in zip(representation(group), element_orders(group).tolist(), strict=True):
        powers = [torch.linalg.matrix_power(matrix, n) for n in range(1, order + 1)]
        identity = [bool((power - torch.eye(len(matrix))).abs().max() < 1e-9) for power in powers]
        assert identity == [False] * (order - 1) + [True]


def test_elements_are_named_by_their_cycles() -> None:
    assert element_names("S3") == ["e", "(1 2)", "(0 1)", "(0 1 2)", "(0 2 1)", "(0 2)"]
    assert element_names("Z4") == ["0", "1", "2", "3"]
    assert "(0 1)(2 3 4)" in element_names("S5")


def by_element(group: str, transition: Transition) -> pd.DataFrame:
    """The distances of a group whose element g has the transition [order] at g."""
    values = transition.eigenvalues().numpy()
    element = np.indices(values.shape)[0]
    orders, names = element_orders(group).numpy(), np.array(element_names(group))
    columns = {"element": names[element], "order": orders[element], "real": values.real, "imaginary": values.imag}
    table = pd.DataFrame({name: value.ravel() for name, value in columns.items()})
    table = table.assign(model="m", layer=0, head=0, sequence=0, position=0, multiplicity=1)
    return ElementSpectra(table[list(ElementSpectra.columns)]).by_element().set_index("element")


@pytest.mark.parametrize(("group", "enough", "few"), [("Z3", 2, 1), ("S3", 2, 1), ("S4", 2, 1), ("A5", 2, 1), ("S5", 4, 2)])
def test_enough_reflections_have_the_roots_of_unity_and_fewer_do_not(group: str, enough: int, few: int) -> None:
    exact, lacking = (by_element(group, Transition.householders(*tracking_tokens(group, count))) for count in (enough, few))
    assert exact["distance"].max() < 1e-9
    hardest = lacking[lacking["order"] == element_orders(group).max().item()]
    assert hardest["distance"].min() > 0.1
    shrunk = by_element(group, Transition.householders(*tracking_tokens(group, enough, largest_beta=1.0)))
    assert shrunk[shrunk["order"] > 1]["distance"].min() > 0.5


def test_an_element_of_order_6_needs_a_turn_by_a_third_and_a_flip() -> None:
    """(0 1)(2 3 4) has the eigenvalues of both cycles and no primitive sixth root; a 3-cycle alone lacks -1."""
    six = Transition.diagonal_only(torch.tensor([[1j * torch.pi, 2j * torch.pi / 3]], dtype=torch.complex128), 2)
    three = Transition.diagonal_only(torch.tensor([[0j, 2j * torch.pi / 3]], dtype=torch.complex128), 2)
    names = element_names("S5")
    place = names.index("(0 1)(2 3 4)")
    for transition, distance in ((six, 0.0), (three, 1.0)):
        whole = transition.each(lambda part: part.expand(len(names), *part.shape[1:]))
        assert by_element("S5", whole)["distance"].iloc[place] == pytest.approx(distance, abs=1e-9)


def small(mixer: Any, vocabulary: int) -> Model:
    return Model(ModelConfig(vocabulary=vocabulary, width=12, layers=1, mixer=mixer)).double().eval()


def test_of_models() -> None:
    task = WordProblem("S3")
    models = {"flips": small(DeltaNet(heads=2, householders=2), 6), "turns": small(GateLoop(heads=2, key_size=3), 6)}
    result = element_spectra(models, task, sequences=3, length=9)
    tokens = task.batch(3, 9, "test", torch.Generator()).tokens
    assert result.about["missing"] == [] and len(tokens) == 3
    counted = result.table.groupby(["model", "sequence", "position", "head"])["multiplicity"].sum()
    assert counted["flips"].eq(6).all() and counted["turns"].eq(3).all()
    found = result.by_element()
    assert len(found) == 2 * 2 * 6 and found["distance"].between(0, 2).all()
    layer, head = result.best("turns")
    means = found[found["model"] == "turns"].groupby("head")["distance"].mean()
    assert layer == 0 and means[head] == means.min()
    titles = [panel.title for panel in result.specification().panels]
    assert [title.rpartition(" ")[2] for title in titles] == ["2", "3", "2", "3"]
    assert "order 3" in result.summary()
    few = element_spectra(models, task, sequences=1, length=2)
    assert len(few.about["missing"]) == 6 - len(few.table["element"].unique()) > 0 and few.specification() and few.summary()
    with pytest.raises(ValueError, match=r"tokens range over .*; the vocabulary is \[0, 5\]"):
        element_spectra(small(DeltaNet(heads=2), 6), WordProblem("S5"), sequences=2, length=8)
    with pytest.raises(ValueError, match="linear transition"):
        element_spectra(small(Attention(heads=2), 6), task)
