"""Folds, intervals, nulls, controls and corrections: what each promises, in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from statescope.probe.statistics.controls import ControlTask
from statescope.probe.statistics.corrections import false_discovery_rates
from statescope.probe.statistics.evidence import Answers, Evidence, ProbingTask
from statescope.probe.statistics.groups import group_bootstrap, group_folds, group_resamples, group_shuffles, sources_of
from statescope.probe.statistics.metrics import Accuracy, AreaUnderCurve, LogLoss, RSquared
from statescope.probe.statistics.nulls import beside_null, share_as_large
from statescope.probe.statistics.power_laws import exponent


def test_cross_validation_never_splits_a_group() -> None:
    groups = torch.randint(0, 10, (200,))
    folds = group_folds(groups, 4, seed=0)
    assert torch.stack(folds).sum(0).eq(1).all()
    for fold in folds:
        assert not set(groups[fold].tolist()) & set(groups[~fold].tolist())
    with pytest.raises(ValueError, match="needs as many groups, got 3"):
        group_folds(torch.tensor([0, 1, 2, 2]), 4, seed=0)


@pytest.mark.parametrize("groups", [5, 30])
def test_the_interval_covers_the_mean_at_its_level_and_resampling_positions_would_not(groups: int) -> None:
    rng = np.random.default_rng(0)
    covered, naive, trials = 0, 0, 400
    for trial in range(trials):
        level = rng.uniform(size=groups)  # each group has its own accuracy, 20 samples each
        values = (rng.uniform(size=(groups, 20)) < level[:, None]).astype(float).ravel()
        low, high = group_bootstrap(values, np.repeat(np.arange(groups), 20), 400, trial)
        covered += low <= 0.5 <= high
        low, high = group_bootstrap(values, np.arange(groups * 20), 400, trial)
        naive += low <= 0.5 <= high
    assert 0.91 < covered / trials < 0.985
    assert naive / trials < 0.75


def test_one_group_has_no_interval() -> None:
    low, high = group_bootstrap(np.ones(9), np.zeros(9, dtype=np.int64), 100, 0)
    assert math.isnan(low) and math.isnan(high)


def test_a_ratio_is_resampled_as_a_ratio() -> None:
    values, weights = np.array([1.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])
    low, high = group_bootstrap(values, np.arange(3), 2000, 0, weights)
    assert (low, high) == (1.0, 2.0)  # three groups: the ends of all resamples
    equal = group_bootstrap(values, np.arange(3), 2000, 0, np.ones(3))
    assert equal == group_bootstrap(values, np.arange(3), 2000, 0)


def test_shuffles_deal_the_labels_of_whole_groups() -> None:
    groups = np.array([7, 7, 7, 3, 3, 3, 5, 5, 5])
    for shuffle in group_shuffles(groups, 50, 0):
        assert sorted(shuffle) == list(range(9))
        for start in (0, 3, 6):
            taken = shuffle[start : start + 3]
            assert (groups[taken] == groups[taken[0]]).all() and (np.diff(taken) == 1).all()
    mixed = np.array([2, 0, 1, 0, 2, 2])  # groups of 2, 1 and 3 samples, not side by side
    for shuffle in group_shuffles(mixed, 50, 1):
        assert sorted(shuffle) == list(range(6))
    assert len({tuple(shuffle) for shuffle in group_shuffles(mixed, 200, 2)}) == 6


def test_control_labels_depend_on_the_context_alone() -> None:
    contexts, labels = torch.randint(0, 4, (500, 2)), torch.tensor([0, 0, 0, 1]).repeat(125)
    task = ControlTask.of(labels, seed=1)
    control = task.labels(contexts)
    seen: dict[tuple[int, ...], int] = {}
    for context, label in zip(contexts.tolist(), control.tolist(), strict=True):
        assert seen.setdefault(tuple(context), label) == label
    assert torch.equal(task.labels(contexts[:100]), control[:100])
    assert not torch.equal(ControlTask.of(labels, seed=2).labels(contexts), control)
    # contexts drawn as the labels are: on average a quarter of them 1
    many = torch.arange(4000)[:, None]
    assert abs(float(ControlTask.of(labels, 3).labels(many).double().mean()) - 0.25) < 0.03
    assert ControlTask.of(torch.tensor([0.5, 2.5]), 3).labels(many).unique().tolist() == [0.5, 2.5]


def test_false_discovery_rates_are_scipys() -> None:
    p = np.random.default_rng(0).uniform(size=25) ** 2
    np.testing.assert_allclose(false_discovery_rates(p), stats.false_discovery_control(p))
    np.testing.assert_allclose(false_discovery_rates(p, dependent=True), stats.false_discovery_control(p, method="by"))
    holed = np.insert(p, [3, 10], np.nan)
    found = false_discovery_rates(holed)
    np.testing.assert_allclose(found[~np.isnan(holed)], stats.false_discovery_control(p))
    assert np.isnan(found[np.isnan(holed)]).all() and np.isnan(false_discovery_rates(np.array([np.nan]))).all()


def test_metrics_are_ratios_with_a_baseline() -> None:
    truth, guess = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    accuracy = Accuracy()
    assert accuracy.score(guess, truth, accuracy.baseline(truth)) == 0.75
    assert accuracy.baseline(torch.tensor([5, 3, 5])) == 5
    numbers, squared = torch.tensor([1.0, 2.0, 4.0]), RSquared()
    assert squared.score(numbers, numbers, squared.baseline(numbers)) == 1
    assert squared.score(torch.full((3,), 7 / 3), numbers, squared.baseline(numbers)) == pytest.approx(0, abs=1e-6)
    assert squared.flaw(torch.ones(4)) == accuracy.flaw(torch.ones(4, dtype=torch.long)) == "one value only"


def test_what_is_not_a_number_is_not_found() -> None:
    null = np.array([0.1, -0.4, 0.3])
    assert share_as_large(null, 0.3) == 0.5
    assert share_as_large(null, float("inf")) == 0.25
    assert beside_null(null, -0.35)["p_value"] == 0.5
    assert math.isnan(share_as_large(null, float("nan")))
    assert math.isnan(beside_null(null, float("nan"))["p_value"])
    assert math.isnan(beside_null(np.array([0.1, float("nan")]), 1.0)["p_value"])


def test_a_score_that_is_undefined_has_no_p_value_and_a_note_that_says_so() -> None:
    truth, groups = torch.zeros(12, dtype=torch.long), torch.arange(12)
    guess = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).double().log_softmax(1)
    baseline = torch.zeros(12, 2, dtype=torch.float64)
    answers = Answers(guess, truth, None, None, baseline, baseline, groups)
    row = Evidence(AreaUnderCurve(), 20, 20, 0).row("m", ProbingTask("blocks.0.hook_state", -1, "y"), answers, ())
    assert math.isnan(row["accuracy"]) and math.isnan(row["p_value"])
    assert "AUC is undefined" in row["note"] and "one group" not in row["note"]
    told = guess.clone()
    told[0, 0] = -float("inf")  # a loss without end is worse than any, not better
    mixed = Answers(told, torch.arange(12) % 2, None, None, baseline, baseline, groups)
    assert Evidence(LogLoss(), 20, 20, 0).null(mixed)[1] > 0.3


def test_samples_without_groups_are_sources_of_their_own() -> None:
    assert sources_of(None, 3).tolist() == [0, 1, 2]
    assert sources_of(torch.tensor([4, 4]), 2).tolist() == [4, 4]
    with pytest.raises(ValueError, match="3 samples need one source each"):
        sources_of(torch.tensor([4, 4]), 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_scores_of_several_truths_are_those_of_each(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    guess = torch.randn(40, classes, generator=generator, dtype=torch.float64).round(decimals=1)
    truths = [torch.randint(0, classes, (40,), generator=generator) for _ in range(5)]
    each = [AreaUnderCurve().score(guess, truth, 0.0) for truth in truths]
    assert AreaUnderCurve().scores(guess, truths, 0.0) == each and len(set(each)) == 5
    alone = torch.zeros(40, dtype=torch.long)
    assert math.isnan(AreaUnderCurve().scores(guess, [alone], 0.0)[0])


def test_the_exponent_is_that_of_the_power_law() -> None:
    x = np.array([2, 5, 11, 40])
    assert exponent(x, 3 * x**-0.7) == pytest.approx(-0.7, abs=1e-12)
    assert exponent(x.tolist(), np.exp(-0.7 * x)) < -2  # no power law


def test_a_resample_takes_whole_groups() -> None:
    groups = np.array([7, 3, 7, 7, 9, 3])
    seen = set()
    for rows in group_resamples(groups, 200, seed=0):
        counts = np.bincount(rows, minlength=len(groups))
        assert all(len(set(counts[groups == group])) == 1 for group in (3, 7, 9))
        assert sum(counts[groups == group][0] for group in (3, 7, 9)) == 3, "as many groups as there are"
        seen.add(tuple(counts))
    assert len(seen) == 10, "each way to draw three of three with replacement"


def test_false_discovery_rates_of_a_grid_are_those_of_its_numbers() -> None:
    p = np.random.default_rng(3).random((4, 3)) ** 2
    p[1, 2] = np.nan
    known = ~np.isnan(p)
    for dependent, method in ((False, "bh"), (True, "by")):
        found = false_discovery_rates(p, dependent=dependent)
        np.testing.assert_allclose(found[known], stats.false_discovery_control(p[known], method=method))
        assert found.shape == (4, 3) and np.isnan(found[1, 2])
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            false_discovery_rates(np.array([0.5, wrong]))


def test_an_area_under_scores_that_are_nan_is_nan() -> None:
    """Sorted as the largest, they would stand for the surest answers."""
    truth, groups = torch.tensor([0, 1, 1, 0]), torch.arange(4)
    for columns in (2, 3):
        guess = torch.arange(4.0)[:, None] * torch.arange(columns)
        assert AreaUnderCurve().score(guess, truth, 0.0) == 0.5
        guess[1, -1] = torch.nan
        assert math.isnan(AreaUnderCurve().score(guess, truth, 0.0))
        assert all(map(math.isnan, AreaUnderCurve().interval(guess, truth, 0.0, groups, 20, 0)))
    assert math.isnan(AreaUnderCurve().score(torch.rand(3, 2), torch.ones(3, dtype=torch.long), 0.0))  # of one class


def test_what_no_power_law_goes_through_has_no_exponent() -> None:
    assert math.isnan(exponent([1, 2, 4], [1.0, math.inf, 3.0])) and math.isnan(exponent([1, 2], [1.0, math.nan]))
    for x, y, said in (
        ([1, 2, 3], [1, 0, 3], "positive numbers"),
        ([1, 2, 3], [1, -2, 3], "positive numbers"),
        ([0, 2, 3], [1, 2, 3], "positive numbers"),
        ([2], [3], "two different x"),
        ([2, 2], [3, 4], "two different x"),
        ([2, 3, 4], [3, 4], r"got \(3,\) and \(2,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            exponent(x, y)
