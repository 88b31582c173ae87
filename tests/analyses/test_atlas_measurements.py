"""How a claim is judged: by intervals over seeds, by every seed where a bound is proven, and by its weakest measurement."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from scipy import stats

from statescope.analyses.atlas.measurement import Measurement, Scope, at_least, at_most, equals, in_every_seed, weakest
from statescope.analyses.atlas.papers import p191_causal_inner_product as paper
from statescope.analyses.atlas.verdicts import verdicts_of
from statescope.probe.results.figure import Heatmap
from statescope.probe.runs.run import Run

ABOUT = {"paper": "P000", "claim": "p000-x", "statement": "It is so.", "note": ""}


@pytest.mark.parametrize(
    ("measurement", "low", "high", "verdict"),
    [
        (at_least("x", 0.5), 0.5, 0.9, "holds"),
        (at_least("x", 0.5), 0.49, 0.9, "inconclusive"),
        (at_least("x", 0.5), 0.1, 0.49, "does not reproduce"),
        (at_most("x", 0.5), 0.1, 0.5, "holds"),
        (at_most("x", 0.5), 0.1, 0.51, "inconclusive"),
        (at_most("x", 0.5), 0.51, 0.6, "does not reproduce"),
        (equals("x", 0.5, 0.1), 0.4, 0.6, "holds"),
        (equals("x", 0.5, 0.1), 0.3, 0.7, "inconclusive"),
        (equals("x", 0.5, 0.1), 0.61, 0.7, "does not reproduce"),
    ],
)
def test_an_interval_is_judged_as_a_whole(measurement: Measurement, low: float, high: float, verdict: str) -> None:
    assert measurement.judge(low, high) == verdict


@pytest.mark.parametrize(
    ("measurement", "values", "verdict"),
    [
        (at_least("x", 0.0), [0.0, 0.2, 0.9], "holds"),
        (at_least("x", 0.0), [-1e-3, 0.2, 0.9], "does not reproduce"),
        (at_most("x", 0.5), [0.1, 0.5], "holds"),
        (at_most("x", 0.5), [0.1, 0.1, 0.1, 0.6], "does not reproduce"),
        (equals("x", 2), [2, 2, 2], "holds"),
        (equals("x", 2), [2, 2, 3], "does not reproduce"),
    ],
)
def test_one_seed_refutes_what_holds_in_every_seed(measurement: Measurement, values: list[float], verdict: str) -> None:
    """In a trained claim where it says so, and in an identity or a construction always."""
    for one, scope in [
        (in_every_seed(measurement), Scope.TRAINED),
        (measurement, Scope.IDENTITY),
        (measurement, Scope.CONSTRUCTION),
    ]:
        found = verdicts_of((one,), {seed: {"x": value} for seed, value in enumerate(values)}, scope, ABOUT)
        row = found.table.iloc[0]
        assert found.verdict == row["verdict"] == verdict
        assert (row["over"], row["low"], row["high"]) == ("every seed", min(values), max(values))


def test_a_mean_may_hold_though_a_seed_fails() -> None:
    """Judged by its mean, a theorem's bound would be inconclusive where each seed keeps it, and hold where one breaks it."""
    kept, broken = [0.0042, 0.0001, 0.0083], [0.4, 0.5, 0.6, 0.5, -0.01]
    for values, by_mean, by_seed in [(kept, "inconclusive", "holds"), (broken, "holds", "does not reproduce")]:
        numbers = {seed: {"x": value} for seed, value in enumerate(values)}
        for one, verdict in [(at_least("x", 0.0), by_mean), (in_every_seed(at_least("x", 0.0)), by_seed)]:
            assert verdicts_of((one,), numbers, Scope.TRAINED, ABOUT).verdict == verdict


def test_the_interval_of_a_mean_is_students() -> None:
    """For 3 seeds the half width is 4.303 standard errors; what must hold for every draw spans all of them."""
    values, mean = [0.90, 0.95, 1.0], at_least("x", 0).under(Scope.TRAINED)
    low, high = mean.interval(values)
    assert high - 0.95 == pytest.approx(4.30265 * 0.05 / 3**0.5, rel=1e-5) and low == pytest.approx(1.9 - high)
    for scope in (Scope.IDENTITY, Scope.CONSTRUCTION):
        assert at_least("x", 0).under(scope).interval(values) == (0.90, 1.0)
    drawn = np.random.default_rng(0).normal(size=(2000, 3))
    covered = [low <= 0 <= high for low, high in map(mean.interval, drawn.tolist())]
    assert stats.binomtest(sum(covered), 2000, 0.95).pvalue > 0.01


def test_the_weakest_verdict_is_the_claims() -> None:
    assert weakest(["holds", "holds"]) == "holds"
    assert weakest(["holds", "inconclusive"]) == "inconclusive"
    assert weakest(["inconclusive", "does not reproduce", "holds"]) == "does not reproduce"


def test_a_number_that_was_not_measured_or_is_not_finite_gives_no_verdict() -> None:
    with pytest.raises(KeyError, match="'y' was not measured; measured were x"):
        verdicts_of((at_most("y", 1),), {0: {"x": 1.0}}, Scope.IDENTITY, {})
    with pytest.raises(ValueError, match="'x' is nan"):
        verdicts_of((at_most("x", 1),), {0: {"x": float("nan")}}, Scope.IDENTITY, {})


def test_a_figure_has_one_unit_an_axis_and_shows_thresholds_and_verdicts() -> None:
    measurements = (at_most("error", 1e-4), at_least("right", 0.9, "accuracy"), at_least("left", 0.5, "accuracy"))
    numbers = {seed: {"error": 1e-7, "right": 0.95, "left": 0.2} for seed in range(3)}
    verdicts = verdicts_of(measurements, numbers, Scope.IDENTITY, ABOUT)
    errors, accuracies = verdicts.specification().panels
    assert errors.x_label == "relative error" and errors.x_log and accuracies.x_label == "accuracy" and not accuracies.x_log
    assert accuracies.marks[0].names == ["right: holds", "left: does not reproduce"]
    assert list(accuracies.marks[1].values) == [0.9, 0.5] and accuracies.marks[1].label == "threshold"
    assert verdicts.verdict == "does not reproduce"
    assert "left: 0.2 [0.2, 0.2], at least 0.5: does not reproduce" in verdicts.summary()


def test_concept_pairs_are_a_map_under_both_metrics() -> None:
    """Beside the numbers of the first seed alone, and their mean is the measured one."""
    claim, run = paper.CausalGeometry(), cast(Run, None)  # of which this experiment asks nothing
    assert set(claim._measure(0, False, run)) == {"seed0"}
    found = claim._measure(0, True, run)
    assert set(found) == {"seed0", "curves", "concept_pairs"}
    pairs, numbers = found["concept_pairs"], found["seed0"].as_dict()
    panels = pairs.specification().panels
    assert [panel.title for panel in panels] == ["unembedding, Euclidean", "unembedding, causal"]
    names = [f"concept {i + 1}" for i in range(paper.CONCEPTS)]
    for panel, what in zip(panels, (paper.EUCLIDEAN, paper.CAUSAL), strict=True):
        (heat,) = panel.marks
        assert isinstance(heat, Heatmap) and heat.diverging and heat.limits == (-1.0, 1.0)
        assert list(heat.rows) == list(heat.columns) == names
        np.testing.assert_allclose(np.diag(heat.values), 1.0)
        np.testing.assert_allclose(heat.values, heat.values.T, atol=1e-6)
        apart = np.abs(heat.values[~np.eye(paper.CONCEPTS, dtype=bool)])
        assert apart.mean() == pytest.approx(numbers[what])
