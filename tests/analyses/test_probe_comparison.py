"""Comparing where a label is read better: differences on the same samples, by the activation that validation data chose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import planted

from statescope import ProbeSweep
from statescope.analyses.behaviour.probe_comparison import ProbedPlace, chosen_hook, probe_comparison
from statescope.estimators import LinearDiscriminant, Ridge

HELD, NOTHING = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"


@pytest.mark.parametrize("estimator", [Ridge(), LinearDiscriminant(balanced=True)], ids=["accuracy", "balanced"])
def test_the_difference_is_that_of_the_two_scores(estimator: Ridge) -> None:
    fitted = ProbeSweep(estimator=estimator, permutations=0).fit(planted(40, 0))
    test = planted(30, 1)
    scores = fitted.score(test)
    held, nothing = ProbedPlace("what holds it", "m", (HELD,)), ProbedPlace("noise", "m", (NOTHING,))
    both = ProbedPlace("either", "m", (NOTHING, HELD))
    found = probe_comparison({"m": fitted}, {"m": test}, [(held, nothing), (nothing, held), (held, both)], ["concept"], seed=0)
    first, second, same = (row for row in found.table.itertuples())
    assert first.first_score == pytest.approx(scores.value("accuracy", hook=HELD))
    assert first.second_score == pytest.approx(scores.value("accuracy", hook=NOTHING))
    assert first.difference == pytest.approx(first.first_score - first.second_score)
    assert 0 < first.low < first.difference < first.high
    np.testing.assert_allclose([second.difference, second.high], [-first.difference, -first.low], atol=0.03)
    assert same.second_hook == HELD and same.difference == same.low == same.high == 0
    said = found.summary().splitlines()
    assert "what holds it reads it better than noise" in said[0] and "what holds it reads it better than noise" in said[1]
    assert "no better and no worse" in said[2]
    assert len(found.specification().panels) == 3


def test_the_choice_goes_by_validation_and_not_by_the_test() -> None:
    fitted = ProbeSweep(permutations=0).fit(planted(40, 0))
    assert chosen_hook(fitted, (NOTHING, HELD), "concept") == HELD
    cells = {
        where: replace(cell, probe=replace(cell.probe, validation=float(where.hook == NOTHING)))
        for where, cell in fitted.by_task.items()
    }
    assert chosen_hook(replace(fitted, by_task=cells), (NOTHING, HELD), "concept") == NOTHING
    assert chosen_hook(fitted, (NOTHING, HELD), "other") is None


def test_other_samples_are_refused() -> None:
    fitted = ProbeSweep(permutations=0).fit(planted(20, 0))
    places = (ProbedPlace("a", "a", (HELD,)), ProbedPlace("b", "b", (HELD,)))
    captures = {"a": planted(20, 1), "b": planted(20, 2)}
    with pytest.raises(ValueError, match="other samples"):
        probe_comparison({"a": fitted, "b": fitted}, captures, [places], ["concept"], seed=0)
    with pytest.raises(ValueError, match="no label has a probe"):
        probe_comparison({"a": fitted, "b": fitted}, dict.fromkeys("ab", planted(20, 1)), [places], ["other"], seed=0)
