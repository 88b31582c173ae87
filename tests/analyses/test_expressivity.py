"""Which groups a delta rule tracks: the constructions are exact over hundreds of tokens, and wrong variants are not."""

from __future__ import annotations

import pytest
import torch

from statescope import Transition, generator_for
from statescope.analyses.automata.expressivity import expressivity, track, tracking_tokens
from statescope.analyses.automata.groups import representation
from statescope.probe.tasks import WordProblem


@pytest.mark.parametrize(
    ("group", "householders"), [("Z2", 1), ("Z3", 2), ("Z5", 2), ("S3", 2), ("A4", 2), ("S4", 2), ("A5", 2), ("S5", 4)]
)
def test_enough_reflections_track_a_group_exactly(group: str, householders: int) -> None:
    batch = WordProblem(group).batch(16, 512, "test", generator_for(0))
    keys, beta = tracking_tokens(group, householders)
    accuracy, drift = track(group, keys, beta, batch.tokens, batch.targets)
    assert accuracy == 1 and drift < 1e-11


@pytest.mark.parametrize(("group", "householders"), [("Z3", 1), ("S3", 1), ("S4", 1), ("A5", 1), ("S5", 2), ("S5", 3)])
def test_too_few_reflections_lose_it(group: str, householders: int) -> None:
    batch = WordProblem(group).batch(64, 128, "test", generator_for(0))
    accuracy, drift = track(group, *tracking_tokens(group, householders), batch.tokens, batch.targets)
    assert accuracy < 0.75 and drift > 0.3


def test_a_spectrum_in_the_unit_interval_loses_parity() -> None:
    """With beta at most 1 the state shrinks to nothing, and its sign with it."""
    batch = WordProblem("Z2").batch(64, 128, "test", generator_for(0))
    accuracy, drift = track("Z2", *tracking_tokens("Z2", 1, largest_beta=1.0), batch.tokens, batch.targets)
    assert accuracy < 0.75 and drift > 0.9


def test_the_wrong_order_of_composition_is_seen() -> None:
    """The product is g_t ... g_1; tokens that multiply from the other side track another element."""
    batch = WordProblem("S3").batch(64, 64, "test", generator_for(0))
    keys, beta = tracking_tokens("S3", 2)
    accuracy, _ = track("S3", keys.flip(1), beta.flip(1), batch.tokens, batch.targets)
    assert accuracy < 0.75


def test_one_generalized_householder_has_a_real_spectrum() -> None:
    """So no beta makes a 3-cycle of it: its eigenvalues stay away from the cube roots of unity."""
    keys = torch.nn.functional.normalize(torch.randn(500, 1, 3, dtype=torch.float64), dim=-1)
    beta = 4 * torch.rand(500, 1, dtype=torch.float64) - 1
    assert Transition.householders(keys, beta).eigenvalues().imag.abs().max() == 0
    three_cycle = torch.linalg.eigvals(representation("S3")[3])
    assert three_cycle.imag.abs().max() > 0.8


def test_the_table_says_which_are_possible_and_measures_it() -> None:
    result = expressivity(("Z2", "S3", "S4"), (1, 2), length=64, sequences=32)
    for row in result.table.itertuples():
        if row.possible:
            assert row.accuracy == 1 and row.drift < 1e-11
        else:
            assert row.accuracy < 0.8
    assert set(result.table.query("possible")["group"]) == {"Z2", "S3", "S4"}
    assert result.value("possible", group="S4", householders=1, largest_beta=2.0) is False
    for wrong in ({"groups": ()}, {"householders": ()}, {"householders": (0,)}):
        with pytest.raises(ValueError, match="give a group or more"):
            expressivity(**wrong)
    assert "S4, 2 reflections, beta up to 2: exact" in result.summary() and len(result.specification().panels) == 2
