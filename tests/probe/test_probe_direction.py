"""The direction of a fitted probe and of its control: what it reads along, in the activation's own units."""

from __future__ import annotations

import pytest
import torch
from planted import planted

from statescope import ProbeSweep
from statescope.directions import probe_direction
from statescope.estimators import LinearSVM, Logistic, NaiveBayes
from statescope.probe.captures.capture import Capture
from statescope.probe.statistics.evidence import ProbingTask

FIRST = "blocks.0.hook_resid_post"


def swept(**sweep: object) -> object:
    return ProbeSweep(estimator=Logistic(penalties=(1e-2,)), permutations=0, resamples=10, **sweep).fit(planted(30, 1))


def test_it_tells_its_class_from_the_others_as_the_probe_does() -> None:
    fitted = swept()
    capture = planted(30, 1)
    x, truth = capture.features(FIRST), capture.label("concept")
    for value in range(3):
        direction = probe_direction(fitted, FIRST, "concept", value=value)
        along = direction.project(x)
        gap = float(along[truth == value].mean() - along[truth != value].mean())
        assert direction.scale == pytest.approx(gap, rel=1e-5) and gap > 1
        weights = fitted.probe(FIRST, "concept").weights
        wanted = weights[value] - (weights.sum(0) - weights[value]) / 2
        assert float(direction.vector @ (wanted / wanted.norm()).to(direction.vector)) > 1 - 1e-6
        assert direction.about["value"] == value and direction.name == "concept"
    control = probe_direction(fitted, FIRST, "concept", value=2, control=True)
    assert control.name == "control of concept" and abs(control.cosine(direction)) < 0.9
    with pytest.raises(ValueError, match="not 0"):  # which no token of the control task drew
        probe_direction(fitted, FIRST, "concept", value=0, control=True)
    by_position = swept(by_position=True)
    assert probe_direction(by_position, FIRST, "concept", 5, value=0).hook == FIRST


def test_a_class_is_held_against_the_mean_of_the_others_where_weights_do_not_add_up_to_zero() -> None:
    fitted = ProbeSweep(estimator=LinearSVM(penalties=(1e-2,)), permutations=0, resamples=10).fit(planted(30, 1))
    weights = fitted.probe(FIRST, "concept").weights.double()
    alone = weights[1] / weights[1].norm()
    wanted = weights[1] - (weights[0] + weights[2]) / 2
    vector = probe_direction(fitted, FIRST, "concept", value=1).vector.double()
    assert float(vector @ wanted / wanted.norm()) > 1 - 1e-6 > 1 - 1e-4 > abs(float(vector @ alone))


def test_the_controls_scale_is_the_gap_of_what_the_control_task_drew() -> None:
    fitted, capture = swept(), planted(30, 1)
    drawn = fitted.by_task[ProbingTask(FIRST, -1, "concept")].control_truth
    control = probe_direction(fitted, FIRST, "concept", value=2, control=True)
    along = control.project(capture.features(FIRST))
    assert control.scale == pytest.approx(float(along[drawn == 2].mean() - along[drawn != 2].mean()), rel=1e-4)
    assert control.about["with"] == int((drawn == 2).sum())


def test_the_larger_of_two_classes_is_the_concept_and_unlabelled_samples_are_left_out() -> None:
    capture = planted(30, 1)
    label = torch.where(capture.labels["concept"] == 1, -100, capture.labels["concept"])
    two = Capture(capture.activations, {"concept": label}, capture.tokens, capture.groups, capture.positions)
    fitted = ProbeSweep(estimator="ridge", permutations=0, resamples=10).fit(two)
    direction = probe_direction(fitted, FIRST, "concept")
    assert direction.about["value"] == 2 and direction.about["with"] + direction.about["without"] == int((label >= 0).sum())
    assert direction.cosine(probe_direction(fitted, FIRST, "concept", value=0)) == pytest.approx(-1.0)


def test_what_has_no_direction_is_refused() -> None:
    fitted = swept()
    with pytest.raises(ValueError, match="say by `value`"):
        probe_direction(fitted, FIRST, "concept")
    with pytest.raises(ValueError, match="not 7"):
        probe_direction(fitted, FIRST, "concept", value=7)
    with pytest.raises(ValueError, match="is not known"):
        probe_direction(fitted, FIRST, "other", value=1)
    with pytest.raises(TypeError, match="no linear probe"):
        probe_direction(ProbeSweep(estimator=NaiveBayes(), resamples=10).fit(planted(30, 1)), FIRST, "concept", value=1)
