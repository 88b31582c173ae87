"""Captures on disk, of which probes and erasers read a part at a time."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import (
    DeltaNet,
    Model,
    ModelConfig,
    Parity,
    ProbeSweep,
    capture,
    generator_for,
)
from statescope.estimators import Estimator, LinearDiscriminant, Logistic, Ridge
from statescope.probe.captures.capture import Capture
from statescope.probe.captures.stored import StoredActivation, StoredFeatures
from statescope.probe.erasure.eraser import MomentFitter
from statescope.probe.erasure.linear_erasers import Leace, MeanProjection

HOOKS = ["blocks.0.attn.hook_state", "blocks.*.hook_resid_post"]


@pytest.fixture
def model() -> Model:
    return Model(ModelConfig(vocabulary=2, width=8, layers=2, mixer=DeltaNet(heads=2))).eval()


@pytest.fixture
def stored(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Capture, Capture]:
    """The same capture in memory, and in a store of which nothing is read whole."""
    monkeypatch.setattr("statescope.probe.captures.capture.IN_MEMORY", 0)
    batches = [Parity().batch(4, 10, "test", generator_for(0, index)) for index in range(10)]
    disk = capture(model, batches, HOOKS, positions=[2, 5, 9], store=tmp_path / "store.zarr")
    return capture(model, batches, HOOKS, positions=[2, 5, 9]), disk


STREAMING = [
    Ridge(),
    Logistic(penalties=(1e-2,), iterations=40),
    LinearDiscriminant(penalties=(1e-2,)),
    LinearDiscriminant(penalties=(1e-2,), balanced=True),
]


@pytest.mark.parametrize("estimator", STREAMING, ids=lambda estimator: estimator.kind)
def test_probes_of_a_store_read_a_part_at_a_time_and_find_the_same(
    estimator: Estimator, stored: tuple[Capture, Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part is larger than asked for, and each number is that of the capture in memory."""
    memory, disk = stored
    for module in ("captures.stored", *(f"estimators.{name}" for name in ("gram", "estimator", "answer_form", "code_length"))):
        monkeypatch.setattr(f"statescope.probe.{module}.CHUNK", 16)
    read: list[int] = []
    plain = StoredFeatures.__getitem__
    monkeypatch.setattr(StoredFeatures, "__getitem__", lambda self, index: read.append(len(index)) or plain(self, index))
    for whole in (StoredFeatures.tensor, Capture.features):
        monkeypatch.setattr(f"statescope.probe.captures.{whole.__module__.rsplit('.', 1)[1]}.{whole.__qualname__}", _refused)
    sweep = ProbeSweep(estimator=estimator, permutations=9, resamples=20)
    hooks = disk.hooks if estimator == STREAMING[0] else disk.hooks[-1:]  # the others go over a store many times
    found = sweep.run(*disk.split(), hooks=hooks).table
    crossed = sweep.cross_validate(disk, folds=4, hooks=hooks).table
    monkeypatch.undo()
    assert read and max(read) <= 16
    columns = ["hook", "label", "accuracy", "low", "high", "control", "p_value", "penalty", "samples"]
    whole = sweep.run(*memory.split(), hooks=hooks).table, sweep.cross_validate(memory, folds=4, hooks=hooks).table
    for ours, theirs in zip((found, crossed), whole, strict=True):
        np.testing.assert_allclose(ours["code_length"], theirs["code_length"], rtol=1e-3)
        ours, theirs = (table.sort_values("hook")[columns].reset_index(drop=True) for table in (ours, theirs))
        pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize("estimator", STREAMING[1:], ids=lambda estimator: estimator.kind)
def test_weights_of_a_store_are_those_of_memory(
    estimator: Estimator, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("captures.capture.IN_MEMORY", "estimators.gram.CHUNK"):
        monkeypatch.setattr(f"statescope.probe.{module}", 16)
    batches = [Parity().batch(4, 10, "test", generator_for(0, index)) for index in range(10)]
    exact, hook = copy.deepcopy(model).double(), "blocks.1.hook_resid_post"
    kept = [capture(exact, batches, [hook], positions=[2, 5, 9], **store) for store in ({}, {"store": tmp_path / "exact.zarr"})]
    found = [
        estimator.fit_many(own.sample_features(hook), {"parity": own.label("parity")}, own.sample_groups)["parity"]  # type: ignore[arg-type]
        for own in kept
    ]
    assert isinstance(kept[1].sample_features(hook), StoredFeatures) and found[0].penalty == found[1].penalty
    for name in ("weights", "intercepts"):
        torch.testing.assert_close(*(getattr(probe, name) for probe in found), rtol=1e-6, atol=1e-6)


def _refused(*_: object) -> None:
    raise AssertionError("an activation was read whole")


@pytest.mark.parametrize("fitter", [Leace(), MeanProjection()], ids=lambda fitter: fitter.kind)
def test_erasers_are_fitted_to_rows_that_are_read_a_part_at_a_time(
    fitter: MomentFitter, stored: tuple[Capture, Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk = stored
    hook, read, plain = HOOKS[0], list[int](), StoredFeatures.__getitem__
    monkeypatch.setattr("statescope.probe.erasure.eraser.CHUNK", 16)
    monkeypatch.setattr(StoredFeatures, "__getitem__", lambda self, index: read.append(len(index)) or plain(self, index))
    rows, labels = disk.sample_features(hook), disk.label("parity").clone()
    labels[::7] = -100
    found = fitter.fit(rows, labels, hook=hook, name="parity")
    assert max(read) <= 16 and sum(read) == int((labels >= 0).sum())
    held = labels >= 0
    whole = fitter.fit_batches([(memory.features(hook)[held], labels[held])], labels.unique(), hook=hook, name="parity")
    torch.testing.assert_close(found.left @ found.right, whole.left @ whole.right, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="give each sample one"):
        fitter.fit(rows, labels[1:], hook=hook, name="parity")


def test_erasers_of_a_store_are_fitted_by_batches(stored: tuple[Capture, Capture]) -> None:
    memory, disk = stored
    hook = HOOKS[0]
    batches = list(disk.feature_batches(hook, "parity", size=7))
    assert [len(labels) for _, labels in batches] == [7] * 17 + [1]
    streamed = Leace().fit_batches(iter(batches), torch.tensor([0, 1]), hook=hook, name="parity")
    whole = Leace().fit(memory.features(hook), memory.label("parity"), hook=hook, name="parity")
    torch.testing.assert_close(streamed(memory.features(hook)), whole(memory.features(hook)))


def test_estimators_that_need_all_features_are_given_them(stored: tuple[Capture, Capture]) -> None:
    memory, disk = stored
    sweep = ProbeSweep(estimator="nearest_centroid", permutations=0, resamples=10, code_length=False)
    ours, theirs = (sweep.run(*kept.split(), hooks=HOOKS[:1]).table["accuracy"] for kept in (disk, memory))
    assert ours.tolist() == theirs.tolist()


def test_a_stored_activation_is_indexed_as_the_tensor_that_it_stands_for(stored: tuple[Capture, Capture]) -> None:
    memory, disk = stored
    ours, theirs = disk.activations[HOOKS[0]], memory.activations[HOOKS[0]]
    assert isinstance(ours, StoredActivation) and len(ours) == len(theirs)
    many = torch.arange(len(theirs)) % 3 == 0
    for index in (3, -1, slice(4, None), torch.tensor([5, 0, 5]), [2, 1], (slice(2, 9), -1), (4, 0), (slice(3), ..., 0), ...):
        torch.testing.assert_close(ours[index], theirs[index], rtol=0, atol=0)
    for index in (
        (..., 0),
        ([0, 3], [1, -1]),
        (torch.tensor([[0, 1]]), torch.tensor([[1], [0]])),
        (),
        None,
        (None, 2),
        (0, ..., 0),
    ):
        torch.testing.assert_close(ours[index], theirs[index], rtol=0, atol=0)
    for index in (many, (many, 0), (slice(4), torch.tensor([1, 0])), torch.zeros(0, dtype=torch.long), theirs[..., 0] > 0):
        torch.testing.assert_close(ours[index], theirs[index], rtol=0, atol=0)
    for chosen in (many, torch.tensor([-1, 0])):
        torch.testing.assert_close(ours.select(chosen).read(), theirs[chosen], rtol=0, atol=0)
        torch.testing.assert_close(ours.read(chosen), theirs[chosen], rtol=0, atol=0)
        assert ours.select(chosen).shape == theirs[chosen].shape
    torch.testing.assert_close(disk.select(many.nonzero()[:, 0]).activations[HOOKS[0]][1:], theirs[many][1:], rtol=0, atol=0)
    torch.testing.assert_close(torch.tensor(np.asarray(ours)), theirs, rtol=0, atol=0)
    with pytest.raises(IndexError):
        ours[len(theirs)]


def test_parts_of_a_stored_capture_are_not_read_until_they_are_asked_for(stored: tuple[Capture, Capture]) -> None:
    memory, disk = stored
    chosen = torch.tensor([30, 2, 17, 2])
    ours, theirs = disk.select(chosen), memory.select(chosen)
    assert isinstance(ours.activations[HOOKS[0]], StoredActivation)
    assert torch.equal(ours.activation(HOOKS[0]), theirs.activation(HOOKS[0]))
    assert torch.equal(
        ours.select(torch.tensor([1, 3])).features(HOOKS[0]), theirs.select(torch.tensor([1, 3])).features(HOOKS[0])
    )
    rows = disk.sample_features(HOOKS[0])
    assert isinstance(rows, StoredFeatures) and rows.shape == memory.features(HOOKS[0]).shape
    index = torch.tensor([119, 0, 64])
    assert torch.equal(rows[index], memory.features(HOOKS[0])[index])
    assert torch.equal(rows.subset(index)[torch.tensor([2])], memory.features(HOOKS[0])[[64]])
