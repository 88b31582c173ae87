"""Nothing outside a run folder is read, written or deleted, whatever stands in the folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from folder_learning import FILES, Learning, loss, snapshot

from statescope import Model, Parity, Run, capture, generator_for
from statescope.probe.runs.lock import ForeignLockError
from statescope.probe.runs.manifest import AlteredFileError, DamagedRunError
from statescope.probe.runs.progress import read_progress
from statescope.probe.runs.run_folder import OtherRunError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "states.zarr").mkdir(parents=True)
    (folder / "states.zarr" / "precious").write_text("keep me")
    (folder / "precious.txt").write_text("keep me")
    (folder / "step-0000004.safetensors").write_text("keep me")
    return folder


@pytest.mark.parametrize("name", [".lock", ".workers"])
def test_a_lock_is_not_opened_through_a_link(run: Path, outside: Path, name: str) -> None:
    before = snapshot(outside)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside / "precious.txt")
    with pytest.raises(ForeignLockError, match=f"{name} is a link or no file; delete it"):
        Learning().run(run)
    assert snapshot(outside) == before
    assert Run(run).status == "finished"


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_a_lock_that_is_no_file_is_told(run: Path, make: object) -> None:
    (run / ".lock").unlink()
    make(run / ".lock")  # type: ignore[operator]
    if (run / ".lock").is_dir():
        with pytest.raises(ForeignLockError):
            Learning().run(run)
    assert Run(run).status == "finished"


def test_a_folder_that_is_no_run_is_left_as_it_is(outside: Path) -> None:
    (outside / ".thesis.tex.abcd1234.part").write_text("keep me")
    (outside / ".half.part").write_text("keep me")
    before = snapshot(outside)
    with pytest.raises(OtherRunError, match="is not empty and holds no run"):
        Learning().run(outside)
    assert snapshot(outside) == before


def test_leftovers_are_known_by_their_names(run: Path) -> None:
    (run / "results" / ".losses.parquet.ab12_xyz.part").write_bytes(b"half")
    (run / ".mine.part").write_text("keep me")
    Learning().run(run)
    assert not list((run / "results").glob(".*"))
    assert (run / ".mine.part").read_text() == "keep me"


@pytest.mark.parametrize("part", ["captures", "results", "figures", "checkpoints/model", "directions"])
def test_a_folder_that_leads_out_of_the_run_is_refused(run: Path, outside: Path, part: str) -> None:
    before = snapshot(outside)
    shutil.rmtree(run / part)
    (run / part).symlink_to(outside)
    with pytest.raises(AlteredFileError, match="leads out of the run by a link"):
        Learning().run(run)
    assert snapshot(outside) == before


@pytest.mark.parametrize("text", ["{}", '{"seconds": {"training": 1.0}}'])
def test_records_that_lie_outside_the_run_are_neither_read_nor_deleted(run: Path, outside: Path, text: str) -> None:
    (outside / "package.json").write_text(text)
    before = snapshot(outside), snapshot(run)
    (run / "records").symlink_to(outside)
    with pytest.raises(AlteredFileError, match="records leads out of the run by a link"):
        Learning().run(run)
    with pytest.raises(AlteredFileError, match="records leads out of the run by a link"), Run.worker(run) as worker:
        worker.compute("more", loss)
    assert snapshot(outside) == before[0]
    (run / "records").unlink()
    (run / "results" / "more.parquet").unlink()  # what the worker finished and could not record counts for nothing
    assert snapshot(run) == before[1]


def test_a_checkpoint_is_not_kept_through_a_link(run: Path, outside: Path) -> None:
    before = snapshot(outside)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"] = {name: record for name, record in manifest["files"].items() if not name.startswith("checkpoints")}
    (run / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(run / "checkpoints" / "model")
    (run / "checkpoints" / "model").symlink_to(outside)
    with pytest.raises(AlteredFileError, match="leads out of the run by a link"):
        Learning().run(run)
    assert snapshot(outside) == before


def test_leftovers_behind_a_link_are_left(run: Path, outside: Path) -> None:
    (outside / ".thesis.tex.abcd1234.part").write_text("keep me")
    before = snapshot(outside)
    (run / "mine").symlink_to(outside)
    Learning().run(run)
    assert snapshot(outside) == before


@pytest.mark.parametrize("text", ["{}", '{"added": {}}', '{"name": "package"}', "[]"])
def test_what_is_no_record_is_told_and_kept(run: Path, text: str) -> None:
    (run / "records").mkdir(exist_ok=True)
    (run / "records" / "package.json").write_text(text)
    with pytest.raises(DamagedRunError, match=r"records/package\.json cannot be read"):
        Learning().run(run)
    assert (run / "records" / "package.json").read_text() == text


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_never_followed(run: Path, outside: Path, name: str) -> None:
    """Not to read, where it is listed; not to write or delete, where it is not."""
    path = run / name
    target = outside / "states.zarr" if path.is_dir() else outside / "precious.txt"
    before = snapshot(outside)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)
    if not name.startswith("directions"):
        with pytest.raises(AlteredFileError, match="cannot be read: it is a link"):
            Learning().run(run)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["files"][name]
    (run / "manifest.json").write_text(json.dumps(manifest))
    Learning().run(run)
    assert snapshot(outside) == before
    assert not path.is_symlink()


def test_progress_is_not_written_through_a_link(run: Path, outside: Path) -> None:
    before = snapshot(outside)
    for name in ("progress.json", ".progress.json.part"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside / "precious.txt")
    shutil.rmtree(run / "captures")
    Learning().run(run)
    assert snapshot(outside) == before


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"stage": 3}', '{"stage": "x", "done": -1}', '{"stage": "x", "total": "many"}', "[" * 9999]
)
def test_a_foreign_progress_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert read_progress(tmp_path) is None


def test_a_capture_does_not_take_the_place_of_other_files(outside: Path) -> None:
    before = snapshot(outside)
    model = Learning().models()["model"]
    batch = Parity().batch(4, 6, "test", generator_for(0, 1))
    with pytest.raises(FileExistsError, match="is no capture of ours"):
        capture(Model(model), [batch], ["blocks.0.hook_resid_post"], positions=[1], store=outside / "states.zarr")
    assert snapshot(outside) == before
