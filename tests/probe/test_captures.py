"""Captures in memory and on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from statescope import DeltaNet, Model, ModelConfig, Parity, capture, generator_for
from statescope.probe.captures.store import COMMIT, CaptureWriter, DamagedCaptureError, open_capture
from statescope.probe.errors import UnknownNameError

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
    writer = CaptureWriter(tmp_path / "store.zarr", (2, 9), 12)
    _, cache = model.run_with_cache(batches[0].tokens, names_filter="blocks.0.hook_resid_post", positions=[2, 9])
    writer.write({"blocks.0.hook_resid_post": cache["resid_post", 0]}, batches[0])
    with pytest.raises(DamagedCaptureError, match="3 of 12 sequences were written"):
        open_capture(tmp_path / "store.zarr")
    (tmp_path / "store.zarr" / COMMIT).write_text(json.dumps({"sequences": 12, "written": 12, "positions": [2, 9]}))
    with pytest.raises(ValueError, match="not finite; it is damaged"):
        open_capture(tmp_path / "store.zarr").features("blocks.0.hook_resid_post")


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
    with pytest.raises(Exception, match="(?i)checksum|decompress|crc"):
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
