"""Directions of the flagship study by their definitions: which way they point, from where they count, and how far they go."""

from __future__ import annotations

import pytest
import torch
from planted import planted
from torch import Tensor

from statescope.analyses.studies.source_code import reading_direction
from statescope.analyses.studies.source_code_steering import candidates
from statescope.estimators import LinearDiscriminant, LinearSVM, Logistic, NearestCentroid, Ridge
from statescope.probe.estimators.estimator import Estimator

FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"


def sides(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    return x[present].double().mean(0), x[~present].double().mean(0)


def test_candidates_point_to_the_concept_count_from_without_it_and_go_one_gap_far() -> None:
    seen = planted(20, 1)
    found = candidates(seen, (FIRST, SECOND), "concept")
    assert [one.hook for one in found] == [FIRST] * 3 + [SECOND] * 3 and len({one.about["method"] for one in found}) == 3
    for one in found:
        present, x = seen.label("concept") > 0, seen.features(one.hook)
        with_it, without = sides(x, present)
        torch.testing.assert_close(one.origin.double(), without, atol=1e-5, rtol=0)
        assert one.scale == pytest.approx(float((with_it - without).norm()), rel=1e-5)
        assert float(one.vector.double() @ (with_it - without)) > 0 and float(one.vector.norm()) == pytest.approx(1)
        removed = one.remove(x)  # leaves what the samples without the concept have along it
        torch.testing.assert_close(
            (removed.double() - without) @ one.vector.double(), torch.zeros(len(x)).double(), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize(
    "estimator", [Ridge(), Logistic(), LinearDiscriminant(), LinearSVM(), NearestCentroid()], ids=lambda e: e.kind
)
def test_a_reading_points_to_the_concept_whichever_class_is_the_larger(estimator: Estimator) -> None:
    seen = planted(20, 2)
    x, label = seen.features(FIRST), seen.label("concept")
    for present in (label > 0, label == 0):
        direction = reading_direction(estimator.fit(x, present.long(), seen.sample_groups), x, present, FIRST, "concept")
        with_it, without = sides(x, present)
        gap = float(direction.vector.double() @ (with_it - without))
        assert gap > 0 and direction.scale == pytest.approx(gap, rel=1e-5)
        torch.testing.assert_close(direction.origin.double(), without, atol=1e-5, rtol=0)
        assert float(direction.project(x[present]).mean()) > float(direction.project(x[~present]).mean())
    with pytest.raises(TypeError, match="no linear probe"):
        reading_direction(object(), x, label > 0, FIRST, "concept")  # type: ignore[arg-type]
