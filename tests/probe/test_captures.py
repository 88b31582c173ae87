"""Captures in memory and on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
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
    Tap,
    capture,
    generator_for,
)
from statescope.app.cli import explain
from statescope.probe.captures.capture import Capture
from statescope.probe.captures.collect import plan_capture
from statescope.probe.captures.store import COMMIT, CaptureWriter, DamagedCaptureError, open_capture
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


def _refused(*_: object) -> None:
    raise AssertionError("the model was run")


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
