"""Metrics against scikit-learn, their intervals and nulls in simulation, and calibration of known probes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from torch import Tensor

from statescope import ProbeSweep
from statescope.estimators import AreaUnderCurve, Logistic, LogLoss, Ridge
from statescope.probe.configuration import BadSettingError
from statescope.probe.estimators.answer_form import AnswerForm, cross_answers
from statescope.probe.estimators.fitted_probes import SharedGroupsError
from statescope.probe.statistics.calibration import Calibration
from statescope.probe.statistics.metrics import class_shares
from statescope.probe.statistics.reliability import calibration_rows

FIRST = "blocks.0.hook_resid_post"
PROBE = Logistic(penalties=(1e-2,))


def drawn(samples: int, classes: int, seed: int, help_: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities [n, C] that help to tell the truths [n]."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (samples,), generator=generator)
    scores = torch.randn(samples, classes, generator=generator, dtype=torch.float64).round(decimals=1)  # with ties
    return (scores + help_ * torch.nn.functional.one_hot(truth, classes)).log_softmax(1), truth


@pytest.mark.parametrize("classes", [2, 4])
def test_area_and_loss_are_those_of_scikit_learn(classes: int) -> None:
    guess, truth = drawn(300, classes, 0)
    p = guess.exp().numpy()
    theirs = (
        roc_auc_score(truth, guess[:, 1] - guess[:, 0])
        if classes == 2
        else roc_auc_score(truth, p, multi_class="ovr", average="macro")
    )
    assert AreaUnderCurve().score(guess, truth, 0.0) == pytest.approx(theirs, abs=1e-12)
    assert LogLoss().score(guess, truth, 0.0) == pytest.approx(log_loss(truth, p), abs=1e-12)
    assert AreaUnderCurve().score(torch.zeros(300, classes), truth, 0.0) == 0.5
    lacking = torch.nn.functional.pad(guess, (0, 1), value=-20)  # a class that no sample has
    if classes > 2:
        assert AreaUnderCurve().score(lacking, truth, 0.0) == pytest.approx(theirs, abs=1e-12)


def test_the_interval_of_an_area_covers_it_over_groups_and_not_over_samples() -> None:
    held, naive, trials = 0, 0, 150
    for seed in range(trials):
        generator = torch.Generator().manual_seed(seed)
        shared = torch.randn(25, generator=generator, dtype=torch.float64)[torch.arange(200) // 8]
        truth = torch.arange(200) % 2
        score = shared * (2 * truth - 1) + 0.3 * torch.randn(200, generator=generator, dtype=torch.float64)  # the group decides
        guess = torch.stack([torch.zeros(200, dtype=torch.float64), score], dim=1)
        low, high = AreaUnderCurve().interval(guess, truth, 0.0, torch.arange(200) // 8, 200, seed)
        held += low <= 0.5 <= high
        low, high = AreaUnderCurve().interval(guess, truth, 0.0, torch.arange(200), 200, seed)
        naive += low <= 0.5 <= high
    assert 0.9 <= held / trials <= 0.99, held
    assert naive / trials < 0.7, naive
    assert np.isnan(AreaUnderCurve().interval(guess, truth, 0.0, torch.zeros(200), 20, 0)).all()


@pytest.mark.parametrize("metric", ["auc", "log_loss", "balanced_accuracy", "accuracy"])
def test_a_sweep_is_scored_by_the_metric_that_is_asked_for(metric: str) -> None:
    train, test = planted(30, 1, strength=0.7), planted(30, 2, strength=0.7)
    sweep = ProbeSweep(estimator=PROBE, metric=metric, resamples=100)
    fitted = sweep.fit(train)
    table = fitted.score(test).to_frame().set_index("layer")
    truth, probe = test.label("concept"), fitted.probe(FIRST, "concept")
    x = test.features(FIRST)
    p = probe.log_probabilities(x).double().exp().numpy()
    theirs = {
        "auc": lambda: roc_auc_score(truth, p, multi_class="ovr"),
        "log_loss": lambda: log_loss(truth, p),
        "balanced_accuracy": lambda: balanced_accuracy_score(truth, probe.predict(x)),
        "accuracy": lambda: float((probe.predict(x) == truth).double().mean()),
    }[metric]()
    assert table.loc[0, "accuracy"] == pytest.approx(theirs, abs=1e-9)
    assert table.loc[0, "low"] < theirs < table.loc[0, "high"]
    assert table.loc[0, "p_value"] == 1 / 200 < 0.02 < table.loc[1, "p_value"]
    assert table.loc[0, "selectivity"] > 0.1  # also of a loss, which is smaller where it is better
    chance = {"auc": 0.5, "log_loss": np.log(3)}.get(metric, 1 / 3)
    assert table.loc[0, "majority"] == pytest.approx(chance, abs=0.08)
    assert table.loc[0, "null"] == pytest.approx(chance, abs=0.08) or metric == "log_loss"  # sure and wrong costs more
    own = sweep.cross_validate(train).to_frame().set_index("layer")
    assert own.loc[0, "accuracy"] == pytest.approx(theirs, abs=0.12) and own.loc[0, "selectivity"] > 0.1
    assert own.loc[1, "p_value"] > 0.02 and own.loc[0, "metric"] == sweep.scoring.name
    assert fitted.score(test).figure().specification.panels[0].x_range[1] >= table["high"].max()


def test_scores_that_are_no_probabilities_have_an_area_and_no_loss() -> None:
    table = ProbeSweep(estimator=Ridge(), metric="auc", resamples=50).run(planted(30, 1), planted(30, 2)).to_frame()
    assert table["accuracy"][0] > 0.95 and abs(table["accuracy"][1] - 0.5) < 0.1
    with pytest.raises(BadSettingError, match="needs probabilities"):
        ProbeSweep(estimator="ridge", metric="log_loss")
    with pytest.raises(BadSettingError, match="of classes"):
        ProbeSweep(estimator="ridge_regression", metric="auc")
    with pytest.raises(BadSettingError, match="of numbers"):
        ProbeSweep(estimator="ridge", metric="r_squared")


def test_a_table_is_corrected_for_any_dependence_too() -> None:
    scores = ProbeSweep(estimator=Ridge(), permutations=19, resamples=10).run(planted(30, 1), planted(30, 2))
    plain, careful = (found.to_frame()["q_value"] for found in (scores, scores.for_any_dependence()))
    np.testing.assert_allclose(careful, np.minimum(plain * 1.5, 1))  # of two probes, 1 + 1 / 2


def test_a_class_that_no_training_sample_has_costs_what_the_code_says() -> None:
    train, test = planted(20, 1), planted(20, 2)
    test.labels["concept"][0, 0] = 7
    sweep = ProbeSweep(estimator=PROBE, metric="log_loss", resamples=20)
    fitted = sweep.fit(train)
    truth = test.label("concept")
    own = fitted.probe(FIRST, "concept").log_probabilities(test.features(FIRST)).double()
    likely = own.gather(1, truth.clamp(max=2)[:, None])[:, 0]
    likely[truth == 7] = -np.log(len(train.sample_groups) + 4)
    assert fitted.score(test).to_frame()["accuracy"][0] == pytest.approx(float(-likely.mean()))


def rows(sharpness: float, samples: int, seed: int, resamples: int = 200, group: int = 1) -> list[dict[str, float]]:
    """Truths that follow the probabilities; the probe says these to the power of `sharpness`, of groups of equal samples."""
    generator = np.random.default_rng(seed)
    honest = generator.dirichlet(np.ones(3), samples)
    truth = (honest.cumsum(1) > generator.random((samples, 1))).argmax(1)
    said = honest**sharpness
    where = {"model": "m", "hook": FIRST, "position": -1, "label": "y"}
    said /= said.sum(1, keepdims=True)
    said, truth, groups = (np.repeat(each, group, axis=0) for each in (said, truth, np.arange(samples)))
    return calibration_rows(said, truth, groups, 8, resamples, seed, where)


def test_the_calibration_error_is_that_of_its_definition_and_covers_the_true_one() -> None:
    true = rows(2.5, 200_000, 0, resamples=2)[0]["error"]
    found = [rows(2.5, 300, seed, 120)[0] for seed in range(60)]
    assert np.mean([row["error_low"] <= true <= row["error_high"] for row in found]) >= 0.9
    table = rows(2.5, 4000, 1)
    assert sum(row["samples"] for row in table) == 4000
    by_hand = sum(row["samples"] * abs(row["confidence"] - row["accuracy"]) for row in table) / 4000
    assert table[0]["error"] == pytest.approx(by_hand) and table[0]["p_value"] < 0.01
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in table)


def test_a_calibrated_probe_is_told_from_one_that_is_too_sure() -> None:
    p_values = [rows(1.0, 200, seed, 60)[0]["p_value"] for seed in range(60)]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.2
    calibrated = rows(1.0, 4000, 3)[0]
    assert calibrated["error"] < 0.03 and calibrated["error_if_calibrated"] > 0.005 and calibrated["p_value"] > 0.02


def test_the_calibration_of_a_sweep_stands_on_held_out_samples() -> None:
    train, test = planted(30, 1, strength=0.7), planted(30, 2, strength=0.7)
    fitted = ProbeSweep(estimator=Logistic(penalties=(1e-6,)), resamples=60).fit(train)
    found = fitted.calibration(test, bins=5)
    assert isinstance(found, Calibration) and len(found.to_frame()) == 2 * 5
    sure = found.select(hook=FIRST).to_frame()
    p = fitted.probe(FIRST, "concept").log_probabilities(test.features(FIRST)).exp().max(1).values
    assert np.average(sure["confidence"], weights=sure["samples"]) == pytest.approx(float(p.double().mean()), abs=1e-6)
    assert "expected calibration error" in found.summary() and len(found.specification().panels) == 1
    with pytest.raises(SharedGroupsError):
        fitted.calibration(train)
    with pytest.raises(TypeError, match="no probabilities"):
        ProbeSweep(estimator="ridge", resamples=10).fit(train).calibration(test)


def test_shares_count_each_class_once_more_and_folds_answer_by_the_others() -> None:
    values, counted = torch.tensor([0, 1, 5]), torch.tensor([0, 0, 1])
    torch.testing.assert_close(class_shares(counted, values).exp(), torch.tensor([3, 2, 1]).double() / 6)
    targets, first = torch.tensor([0, 1, 0, 1, 1, 1, 1, 1]), torch.arange(8) < 4
    forms = {"y": AnswerForm(LogLoss(), targets.unique())}
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    found = cross_answers(PROBE, x, {"y": targets}, torch.arange(8), [first, ~first], forms)["y"]
    torch.testing.assert_close(found[0].exp(), torch.tensor([1, 5]).double() / 6)  # the other fold has one class alone


def test_bins_hold_equally_many_in_the_order_of_confidence() -> None:
    table = rows(2.5, 403, 2, resamples=2)
    assert {row["samples"] for row in table} == {50, 51} and len(table) == 8
    assert np.all(np.diff([row["confidence"] for row in table]) > 0)


def test_a_group_of_equal_samples_says_no_more_than_one_of_them() -> None:
    once, often = rows(2.5, 400, 4, resamples=50), rows(2.5, 400, 4, resamples=50, group=6)
    ends = ("low", "high", "error_low", "error_high", "accuracy")
    for one, same in zip(once, often, strict=True):
        assert [same[end] for end in ends] == pytest.approx([one[end] for end in ends], rel=1e-9)
        assert same["samples"] == 6 * one["samples"]
