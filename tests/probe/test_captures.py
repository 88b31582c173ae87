"""Captures in memory and on disk."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from statescope import (
    LRU,
    Attention,
    Batch,
    DeltaNet,
    GatedSlotAttention,
    Model,
    ModelConfig,
    Parity,
    ProbeSweep,
    Tap,
    capture,
    generator_for,
)
from statescope.app.cli import explain
from statescope.estimators import Estimator, LinearDiscriminant, Logistic, Ridge
from statescope.probe.captures.capture import Capture
from statescope.probe.captures.collect import plan_capture
from statescope.probe.captures.store import COMMIT, CaptureWriter, DamagedCaptureError, open_capture
from statescope.probe.captures.stored import StoredActivation, StoredFeatures
from statescope.probe.erasure.eraser import MomentFitter
from statescope.probe.erasure.linear_erasers import Leace, MeanProjection
from statescope.probe.errors import NotEnoughMemoryError, UnknownNameError
from statescope.probe.files import DiskFullError

HOOKS = ["blocks.0.attn.hook_state", "blocks.*.hook_resid_post"]


@pytest.fixture
def model() -> Model:
    return Model(ModelConfig(vocabulary=2, width=8, layers=2, mixer=DeltaNet(heads=2))).eval()


@pytest.fixture
def batches() -> list:
    return [Parity().batch(3, 10, "test", generator_for(0, index)) for index in range(4)]


def test_memory_and_disk_hold_the_same(model: Model, batches: list, tmp_path: Path) -> None:
    memory = capture(model, batches, HOOKS, positions=[2, 9])
    disk = capture(model, batches, HOOKS, positions=[2, 9], store=tmp_path / "store.zarr")
    assert (
        sorted(memory.hooks) == sorted(disk.hooks) == sorted([HOOKS[0], "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"])
    )
    for hook in memory.hooks:
        assert torch.equal(memory.features(hook), disk.features(hook))
    for part in ("tokens", "groups"):
        assert torch.equal(getattr(memory, part), getattr(disk, part))
    assert torch.equal(memory.label("parity"), disk.label("parity"))
    assert memory.positions == disk.positions == (2, 9)
    none = torch.zeros(len(memory.tokens), dtype=torch.bool)
    for hook in memory.hooks:
        assert torch.equal(memory.select(none).activation(hook), disk.select(none).activation(hook))


def test_samples_are_the_activations_at_their_positions(model: Model, batches: list) -> None:
    found = capture(model, batches, HOOKS, positions=[2, 9])
    _, cache = model.run_with_cache(batches[1].tokens, taps=[2, 9])
    # the second batch's first sequence is sequence 3, whose two positions are samples 6 and 7
    torch.testing.assert_close(found.features("blocks.0.attn.hook_state")[7], cache["state", 0][0, 1].flatten())
    torch.testing.assert_close(found.features("blocks.1.hook_resid_post")[6], cache["resid_post", 1][0, 2])
    assert found.label("parity")[7] == batches[1].targets[0, 9]
    assert found.contexts(3)[6].tolist() == batches[1].tokens[0, 0:3].tolist()
    assert found.contexts(4)[6].tolist() == [-1, *batches[1].tokens[0, 0:3].tolist()]


def test_an_unfinished_store_is_refused_and_its_holes_are_no_numbers(model: Model, batches: list, tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "store.zarr", 12)
    _, cache = model.run_with_cache(batches[0].tokens, names_filter="blocks.0.hook_resid_post", positions=[2, 9])
    about = {"tokens": batches[0].tokens, "groups": batches[0].groups, "positions": torch.tensor([[2, 9]]).expand(3, 2)}
    writer.write({"hooks/blocks.0.hook_resid_post": cache["resid_post", 0]} | about)
    with pytest.raises(DamagedCaptureError, match="3 of 12 sequences were written"):
        open_capture(tmp_path / "store.zarr")
    (tmp_path / "store.zarr" / COMMIT).write_text(json.dumps({"sequences": 12, "written": 12}))
    with pytest.raises(DamagedCaptureError, match="a part of tokens is missing"):
        open_capture(tmp_path / "store.zarr")


def test_a_flipped_bit_is_caught(model: Model, batches: list, tmp_path: Path) -> None:
    capture(model, batches, HOOKS, positions="last", store=tmp_path / "store.zarr")
    chunk = max(
        (tmp_path / "store.zarr" / "hooks").rglob("c/0/*/*/*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    chunk = next(path for path in [chunk, *chunk.rglob("*")] if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(bytes(data))
    damaged = open_capture(tmp_path / "store.zarr")
    with pytest.raises(DamagedCaptureError, match="(?i)checksum|decompress|crc"):
        for hook in damaged.hooks:
            np.asarray(damaged.features(hook))


def test_a_finished_store_is_not_overwritten(model: Model, batches: list, tmp_path: Path) -> None:
    capture(model, batches, HOOKS, positions="last", store=tmp_path / "store.zarr")
    with pytest.raises(FileExistsError, match="holds a capture already"):
        capture(model, batches, HOOKS, positions="last", store=tmp_path / "store.zarr")


def test_unknown_hooks_and_labels_name_the_nearest(model: Model, batches: list) -> None:
    with pytest.raises(UnknownNameError, match="is not known"):
        capture(model, batches, ["blocks.0.hook_resid_psot"], positions="last")
    found = capture(model, batches, HOOKS, positions="last")
    with pytest.raises(UnknownNameError, match="did you mean 'parity'"):
        found.label("partiy")
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks\.0\.attn\.hook_state'"):
        found.features("blocks.0.attn.hook_statee")
    with pytest.raises(IndexError, match="position 10 is outside"):
        capture(model, batches, HOOKS, positions=[10])


def test_weights_have_no_position_to_capture(model: Model, batches: list) -> None:
    with pytest.raises(ValueError, match="no position axis"):
        capture(model, batches, ["blocks.0.attn.hook_transition"], positions="last")


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "disk"])
def test_batches_of_different_lengths_keep_their_own_positions(model: Model, stored: bool, tmp_path: Path) -> None:
    short, long = (Parity().batch(4, length, "test", generator_for(length)) for length in (16, 24))
    where = tmp_path / "store.zarr" if stored else None
    found = capture(model, [short, long], HOOKS, positions="last", store=where)
    for batch, samples in ((short, slice(0, 4)), (long, slice(4, 8))):
        _, cache = model.run_with_cache(batch.tokens, taps="last")
        torch.testing.assert_close(found.features(HOOKS[0])[samples], cache["state", 0][:, 0].flatten(1))
        torch.testing.assert_close(found.features("blocks.1.hook_resid_post")[samples], cache["resid_post", 1][:, -1])
        assert torch.equal(found.label("parity")[samples], batch.targets[:, -1])
        assert torch.equal(found.contexts(3)[samples], batch.tokens[:, -3:])
    assert found.tokens.shape == (8, 24) and (found.tokens[:4, 16:] == -1).all() and torch.equal(found.tokens[4:], long.tokens)
    assert found.sample_positions.tolist() == [15] * 4 + [23] * 4
    with pytest.raises(ValueError, match="different positions"):
        found.activation_cache(model)
    assert repr(found).startswith("Capture(8 samples of 8 sequences from 8 sources; blocks.0.attn.hook_state [2, 4, 4] ")
    assert len(repr(found)) < 300


def test_a_shorter_batch_has_fewer_samples_and_none_is_made_up(model: Model, tmp_path: Path) -> None:
    batches = [Parity().batch(2, length, "test", generator_for(length)) for length in (12, 8)]
    for store in (None, tmp_path / "store.zarr"):
        found = capture(model, batches, HOOKS, positions=Tap(every=4), store=store)
        assert found.sample_positions.tolist() == [3, 7, 11] * 2 + [3, 7] * 2
        assert len(found.features(HOOKS[0])) == len(found.label("parity")) == len(found.sample_groups) == 10
        torch.testing.assert_close(
            found.features(HOOKS[0])[8:], model.run_with_cache(batches[1].tokens, taps=[3, 7])[1]["state", 0][1].flatten(1)
        )
    with pytest.raises(IndexError, match="position 11 is outside"):
        capture(model, batches, HOOKS, positions=[11])


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "disk"])
def test_complex_states_are_captured_with_both_parts(stored: bool, tmp_path: Path) -> None:
    model = Model(ModelConfig(vocabulary=2, width=8, layers=1, mixer=LRU()))
    batch = Parity().batch(5, 7, "test", generator_for(1))
    found = capture(model, [batch], ["*.hook_state"], positions=[3, 6], store=tmp_path / "store.zarr" if stored else None)
    state = model.run_with_cache(batch.tokens, taps=[3, 6])[1]["state", 0]
    assert state.is_complex() and float(state.imag.detach().abs().max()) > 1e-3
    features = found.features("blocks.0.attn.hook_state")
    assert features.shape == (10, 2 * state[0, 0].numel()) and features.dtype == torch.float32
    both = torch.stack([state.real, state.imag], -1).flatten(0, 1).flatten(1)
    torch.testing.assert_close(features, both)


def test_what_a_complex_store_lacks_is_not_a_number(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "store.zarr", 4)
    about = {"tokens": torch.zeros(2, 3), "groups": torch.arange(2), "positions": torch.zeros(2, 1, dtype=torch.long)}
    writer.write({"hooks/a": torch.ones(2, 1, 3, dtype=torch.complex128)} | about)
    with pytest.raises(ValueError, match="does not fit"):
        writer.write({"hooks/a": torch.ones(2, 1, 4, dtype=torch.complex128)} | about)
    writer.write({"hooks/a": torch.ones(2, 1, 3, dtype=torch.complex128)} | about)
    for chunk in (tmp_path / "store.zarr" / "hooks" / "a" / "c").glob("1"):
        shutil.rmtree(chunk)
    missing = open_capture(tmp_path / "store.zarr").activation("a")[2:]
    assert missing.dtype == torch.complex128 and missing.real.isnan().all() and missing.imag.isnan().all()


def test_half_precision_is_stored_exactly_and_double_stays_double(batches: list, tmp_path: Path) -> None:
    model = Model(ModelConfig(vocabulary=2, width=8, layers=1, mixer=DeltaNet(heads=2)))
    for dtype in (torch.bfloat16, torch.float64):
        own = model.to(dtype)
        memory = capture(own, batches, ["hook_embed"], positions="last").features("hook_embed")
        disk = capture(own, batches, ["hook_embed"], positions="last", store=tmp_path / str(dtype)).features("hook_embed")
        assert torch.equal(memory, disk)
        assert memory.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_taps_are_set_for_every_hook_that_shows_states(batches: list) -> None:
    slots = Model(ModelConfig(vocabulary=2, width=8, layers=1, mixer=GatedSlotAttention(heads=2)))
    found = capture(slots, batches, ["blocks.0.attn.hook_key_state"], positions=[2, 9])
    assert found.activations["blocks.0.attn.hook_key_state"].shape[:2] == (12, 2)
    attention = Model(ModelConfig(vocabulary=2, width=8, layers=1, mixer=Attention(heads=2)))
    with pytest.raises(UnknownNameError, match="hook_state"):
        capture(attention, batches, ["blocks.0.attn.hook_state"], positions="last")


def test_a_wildcard_leaves_out_what_has_no_position(model: Model, batches: list) -> None:
    hooks = capture(model, batches[:1], ["blocks.0.attn.*"], positions="last").hooks
    assert {"blocks.0.attn.hook_state", "blocks.0.attn.hook_k", "blocks.0.attn.hook_z"} <= set(hooks)
    assert "blocks.0.attn.hook_transition" not in hooks


def test_groups_are_the_same_sources_in_every_batch(model: Model) -> None:
    tokens = torch.randint(0, 2, (6, 20))
    first, again = (
        capture(model, [Batch(part, part) for part in parts], ["hook_embed"], positions="last").groups
        for parts in (tokens.split(2), tokens.split(3))
    )
    assert len(first.unique()) == 6
    assert torch.equal(first, again)


def test_a_capture_whose_parts_do_not_agree_is_refused() -> None:
    tokens, groups = torch.zeros(4, 3, dtype=torch.long), torch.arange(4)
    with pytest.raises(ValueError, match="'h' is \\(4, 1, 2\\); 4 sequences at 2 positions"):
        Capture({"h": torch.zeros(4, 1, 2)}, {}, tokens, groups, (0, 1))
    with pytest.raises(ValueError, match="'y' is"):
        Capture({"h": torch.zeros(4, 1, 2)}, {"y": torch.zeros(4, 2)}, tokens, groups, (0,))
    with pytest.raises(ValueError, match="4 sequences need one group each"):
        Capture({"h": torch.zeros(4, 1, 2)}, {}, tokens, groups[:3], (0,))
    with pytest.raises(ValueError, match="no sequence to capture"):
        capture(Model(ModelConfig(2, 8, 1)), [], ["hook_embed"], positions="last")


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


def test_an_interrupted_capture_goes_on_behind_its_last_batch(model: Model, batches: list, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(done: int) -> None:
        if done == 2:
            raise Interrupted

    store, call = tmp_path / "store.zarr", {"hooks": HOOKS, "positions": [2, 9], "resume": True}
    with pytest.raises(Interrupted):
        capture(model, batches, store=store, advance=stop, **call)
    with pytest.raises(FileExistsError, match="6 of 12 sequences of a capture that stopped; delete it, or give resume=True to"):
        capture(model, batches, store=store, **call | {"resume": False})
    runs: list[int] = []
    plain = type(model).run_with_cache

    def counted(self: Model, *args: object, **kwargs: object) -> object:
        runs.append(1)
        return plain(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "run_with_cache", counted)
        resumed = capture(model, batches, store=store, **call)
        assert len(runs) == 2  # the other two batches
        again = capture(model, batches, store=store, **call)
        assert len(runs) == 2
    memory = capture(model, batches, HOOKS, positions=[2, 9])
    for kept in (resumed, again):
        assert all(torch.equal(kept.features(hook), memory.features(hook)) for hook in memory.hooks)
    other = Model(ModelConfig(vocabulary=2, width=8, layers=2, mixer=DeltaNet(heads=2), seed=5)).eval()
    for args in ((other, batches, call), (model, batches[:3], call), (model, batches, call | {"positions": [2, 8]})):
        with pytest.raises(FileExistsError, match="a capture of another call"):
            capture(*args[:2], store=store, **args[2])
    with pytest.raises(FileExistsError, match="holds a capture already"):
        capture(model, batches, HOOKS, positions=[2, 9], store=store)


def test_a_plan_says_how_large_a_capture_is_before_it_runs(model: Model, batches: list, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_capture(model, batches, HOOKS, positions=[2, 9])
    kept = capture(model, batches, HOOKS, positions=[2, 9])
    assert plan.bytes_by_hook == {hook: kept.activation(hook).nbytes for hook in kept.hooks}
    assert plan.samples == len(kept.sample_positions) and "samples of 12 sequences" in repr(plan)
    assert plan_capture(model.double(), batches, HOOKS, positions=[2, 9]).total_bytes == 2 * plan.total_bytes
    model.float()
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "forward", _refused)
        with pytest.raises(NotEnoughMemoryError, match="give store=FOLDER") as short:
            capture(model, batches, HOOKS, positions=[2, 9], budget_bytes=plan.total_bytes - 1)
        patch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": plan.total_bytes - 1}))
        with pytest.raises(DiskFullError, match="does not fit") as full:
            capture(model, batches, HOOKS, positions=[2, 9], store="no/such/folder")
    assert [explain(error.value) for error in (short, full)] == [str(short.value), str(full.value)], "what a command shows"


def test_a_notebook_shows_a_capture_as_text(model: Model) -> None:
    labels = {"<b>kind</b>": ["low", "high", "low"], "size": [0.5, 1.5, 2.5]}
    kept = capture(model, torch.randint(0, 2, (3, 5)), HOOKS, positions=[1, 3], labels=labels)
    shown = kept._repr_html_()
    assert "6 samples of 3 sequences" in shown and "2 classes" in shown and "from 0.5 to 2.5" in shown and "in memory" in shown
    assert "<b>kind</b>" not in shown and "&lt;b&gt;kind" in shown
