"""Directions, subspaces and erasers of samples in which there is nothing to find: rounding is refused, and not a direction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statescope.directions import (
    DirectionFinder,
    IdealWords,
    KMeans,
    MeanDifference,
    PartialLeastSquares,
    PrincipalComponent,
    PrincipalComponents,
    ProjectAndProbe,
    Reading,
    SubspaceFinder,
    WhitenedMeanDifference,
)
from statescope.estimators import LinearDiscriminant, NearestCentroid, Ridge
from statescope.probe.erasure.labelled_erasers import QuadraticLeace
from statescope.probe.erasure.linear_erasers import Leace, MeanProjection
from statescope.probe.erasure.nullspace_projection import Inlp

WHERE = {"hook": "blocks.0.hook_resid_post", "name": "concept"}
FINDERS: list[DirectionFinder] = [MeanDifference(), WhitenedMeanDifference(), Reading(), Reading(Ridge()), KMeans()]
FINDERS += [Reading(LinearDiscriminant()), Reading(NearestCentroid()), PrincipalComponent()]
SUBSPACES: list[SubspaceFinder] = [ProjectAndProbe(rank=1), PartialLeastSquares(rank=1), PrincipalComponents(rank=1)]


def unvaried(samples: int = 31) -> Tensor:
    """Features whose means over any samples differ by rounding alone, at values that no binary fraction is."""
    return torch.tensor([3.3, 1e3 / 7, 0.1], dtype=torch.float64).expand(samples, 3).clone()


def present(samples: int = 31) -> Tensor:
    return torch.arange(samples) % 3 == 0


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: f"{finder.kind} {getattr(finder, 'estimator', '')}"[:24])
def test_rounding_is_no_direction(finder: DirectionFinder) -> None:
    x = unvaried()
    assert float((x[present()].mean(0) - x[~present()].mean(0)).norm()) > 0  # there is something to be misled by
    with pytest.raises(ValueError, match="length 0|all alike|vary along 0"):
        finder.fit(x, present(), **WHERE)
    along = torch.where(present(), 2.0, 0.0).double() + 0.1 * torch.sin(torch.arange(31).double())
    x[:, 1] += along
    vector = finder.fit(x, present(), **WHERE).vector
    torch.testing.assert_close(vector / vector.norm(), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("finder", SUBSPACES, ids=lambda finder: finder.kind)
def test_rounding_is_no_subspace(finder: SubspaceFinder) -> None:
    with pytest.raises(ValueError, match="vary along 0 directions, not 1"):
        finder.fit(unvaried(), present().long(), **WHERE)


@pytest.mark.parametrize("fitter", [Leace(), MeanProjection(), QuadraticLeace()], ids=lambda fitter: fitter.kind)
def test_rounding_is_not_erased(fitter: Leace) -> None:
    with pytest.raises(ValueError, match="nothing to erase"):
        fitter.fit(torch.full((12, 3), 3.0, dtype=torch.float64), present(12).long(), **WHERE)


def test_samples_that_are_alike_on_each_side_have_no_covariance_to_whiten_by() -> None:
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0]]).repeat(3, 1)
    with pytest.raises(ValueError, match="no covariance within them"):
        WhitenedMeanDifference().fit(x, torch.arange(6) % 2, **WHERE)
    assert MeanDifference().fit(x, torch.arange(6) % 2, **WHERE).vector.tolist() == [1.0, 0.0]


def test_components_beyond_those_along_which_samples_vary_are_refused() -> None:
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = torch.cat([x, x @ torch.tensor([[1.0], [2.0]], dtype=torch.float64)], 1) + 5
    PrincipalComponent(number=2).fit(flat, present(20), **WHERE)
    with pytest.raises(ValueError, match=r"no component 3 of features \(20, 3\), which vary along 2"):
        PrincipalComponent(number=3).fit(flat, present(20), **WHERE)


def test_ideal_words_of_features_that_do_not_vary() -> None:
    factors = {"a": torch.arange(30) % 2, "b": torch.arange(30) % 3}
    x = unvaried(30)
    still = IdealWords.fit(x, factors, hook="h")
    assert not still.words["a"].any() and not still.words["b"].any()
    torch.testing.assert_close(still(factors), x)
    with pytest.raises(ValueError, match="one ideal word"):
        still.subspace("a")
    with pytest.raises(ValueError, match="do not vary"):
        still.residual(x, factors)
    x[:, 0] += factors["b"]
    moved = IdealWords.fit(x, factors, hook="h")
    assert moved.residual(x, factors) == pytest.approx(0, abs=1e-20)
    torch.testing.assert_close(moved.words["b"][:, 0], torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(moved.centre, x.mean(0))
    for other in ({"a": factors["a"][:1], "b": factors["b"]}, {"a": factors["a"][:, None], "b": factors["b"]}):
        with pytest.raises(ValueError, match="one value a sample"):
            moved(other)


def test_samples_and_labels_of_several_lengths_are_refused() -> None:
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"got \(12, 3\), \(2,\)"):
        MeanDifference().fit(x, torch.tensor([True, False]), **WHERE)
    with pytest.raises(ValueError, match=r"got \(12,\), \(12,\)"):
        MeanDifference().fit(x[:, 0], present(12), **WHERE)
    with pytest.raises(ValueError, match=r"12 samples, and classes \(4,\)"):
        MeanDifference().fit(x, present(12), given=torch.arange(4), **WHERE)
    for fitter in (Leace(), QuadraticLeace(), Inlp()):
        with pytest.raises(ValueError, match="12 samples have 5 labels"):
            fitter.fit(x, torch.arange(5) % 2, **WHERE)
