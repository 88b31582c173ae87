"""An estimator and an eraser from a user's own file, which nothing else names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import planted

from statescope import ProbeSweep
from statescope.probe.configuration import from_plain
from statescope.probe.erasure.eraser import EraserFitter
from statescope.probe.errors import UnknownNameError
from statescope.probe.plugins import import_file

ESTIMATOR = '''
from dataclasses import dataclass

import torch

from statescope.estimators import Accuracy, Estimator, Probe


@dataclass(frozen=True)
class Centroids(Probe):
    """The class of the nearest mean."""

    centres: torch.Tensor
    labels: torch.Tensor

    def predict(self, features):
        return self.labels[torch.cdist(features.double(), self.centres).argmin(1)]


@dataclass(frozen=True)
class OwnCentroids(Estimator, kind="own_centroids"):
    """The class whose mean is nearest, in units of each feature's scale where `scaled`."""

    metric = Accuracy()
    scaled: bool = False

    def fit_many(self, features, targets, groups):
        return {name: self.fit(features.double(), target) for name, target in targets.items()}

    def fit(self, features, target):
        labels = target.unique()
        return Centroids(torch.stack([features[target == label].mean(0) for label in labels]), labels)
'''

WITH_PENALTIES = '''
from dataclasses import dataclass

import torch

from statescope.estimators import Accuracy, PathEstimator, Probe


@dataclass(frozen=True)
class Shrunken(Probe):
    """The class of the nearest mean, of which small entries are zero."""

    centres: torch.Tensor
    labels: torch.Tensor
    at: torch.Tensor

    def predict(self, features):
        return self.labels[torch.cdist(features.double() - self.at, self.centres).argmin(1)]


@dataclass(frozen=True)
class ShrunkenCentroids(PathEstimator, kind="shrunken_centroids"):
    """The penalty is what each entry of a mean is shrunk by."""

    metric = Accuracy()

    def fit_paths(self, features, targets):
        return {name: self.path(features.double(), target) for name, target in targets.items()}

    def path(self, x, target):
        labels, at = target.unique(), x.mean(0)
        centres = torch.stack([x[target == label].mean(0) - at for label in labels])
        return [Shrunken(torch.nn.functional.softshrink(centres, penalty), labels, at) for penalty in self.penalties]
'''

ERASER = '''
from dataclasses import dataclass

import torch

from statescope.probe.erasure.eraser import Eraser, MomentFitter


@dataclass(frozen=True)
class LargestFeature(MomentFitter, kind="largest_feature"):
    """Sets the one feature that goes most with the concept to its mean."""

    def eraser(self, moments, *, hook, name, side="vector"):
        axis = torch.eye(len(moments.mean_x), dtype=torch.float64)[:, [int(moments.covariance_xz.abs().sum(1).argmax())]]
        return Eraser(axis, axis.T, moments.mean_x, hook, name, side)
'''


def test_an_estimator_in_one_file_goes_through_every_piece_of_evidence(tmp_path: Path) -> None:
    (tmp_path / "centroids.py").write_text(ESTIMATOR)
    with pytest.raises(UnknownNameError):
        ProbeSweep(estimator="own_centroids")  # type: ignore[arg-type]
    import_file(tmp_path / "centroids.py")
    sweep = from_plain(ProbeSweep, {"estimator": {"kind": "own_centroids", "scaled": True}})
    for scores in (sweep.run(planted(30, 1), planted(30, 2)), sweep.cross_validate(planted(30, 3))):
        table = scores.to_frame().set_index("layer")
        assert table.loc[0, "accuracy"] > 0.9 > 0.6 > table.loc[1, "accuracy"]
        assert table.loc[0, "low"] > table.loc[1, "high"] and table.loc[0, "p_value"] == 1 / 200
        assert table.loc[0, "selectivity"] > 0.3 and scores.about["estimator"] == "own_centroids"
        assert "over 2 hooks" in scores.summary()  # nothing was there to choose a hook by


def test_an_estimator_with_penalties_whose_probes_have_no_field_for_them(tmp_path: Path) -> None:
    """Before, fitting it ended in a TypeError about a keyword."""
    (tmp_path / "shrunken.py").write_text(WITH_PENALTIES)
    import_file(tmp_path / "shrunken.py")
    sweep = from_plain(ProbeSweep, {"estimator": {"kind": "shrunken_centroids", "penalties": [1e-3, 1e3]}})
    table = sweep.run(planted(30, 1), planted(30, 2)).to_frame().set_index("layer")
    assert table.loc[0, "accuracy"] > 0.9 and table.loc[0, "penalty"] == 1e-3  # the other makes all means equal


def test_an_eraser_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "largest.py").write_text(ERASER)
    import_file(tmp_path / "largest.py")
    fitter = from_plain(EraserFitter, "largest_feature")
    x, label = torch.randn(200, 5), torch.arange(200) % 2
    x[:, 3] += 4 * label
    eraser = fitter.fit(x, label, hook="h", name="c")
    erased = eraser.ablate()[1](x, None)
    torch.testing.assert_close(erased[:, 3], x[:, 3].mean().expand(200))
    assert torch.equal(erased[:, [0, 1, 2, 4]], x[:, [0, 1, 2, 4]])
