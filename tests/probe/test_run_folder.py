"""What a run folder holds: as it was written, complete after any death of its process, and nothing where no run can be."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from folder_learning import FILES, Learning, Losses, digests, flip, loss
from guest import as_a_guest, open_to_guests

from statescope import DeltaNet, Model, ModelConfig, Run, Study
from statescope.probe.files import DiskFullError, UnwritableError
from statescope.probe.runs.checkpoint import Checkpoints
from statescope.probe.runs.checkpoint_file import Progress, save_checkpoint
from statescope.probe.runs.ledger import Ledger
from statescope.probe.runs.manifest import AlteredFileError, DamagedRunError
from statescope.probe.runs.progress import RunWarning
from statescope.probe.runs.run_folder import OtherRunError

# What is listed is there, as it was written


def test_the_manifest_has_one_entry_a_file_and_one_a_capture(made: Path) -> None:
    files = set(Run(made).manifest.files)
    assert files == {*FILES, "figures/losses.svg", "figures/losses.png"}
    assert len([path for path in (made / "captures").rglob("*") if path.is_file()]) > 5


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("finished", [True, False])
def test_a_flipped_bit_is_an_error_before_anything_is_read(run: Path, name: str, finished: bool) -> None:
    if not finished:
        manifest = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps(manifest | {"outcome": "unfinished"}))
    flip(run / name)
    assert len(Run(run).problems()) == 1
    if name.startswith("directions"):  # written anew by the study, and read by whoever asks for it
        with pytest.raises(AlteredFileError, match=r"odd\.safetensors was altered"):
            Run(run).direction("odd")
        return
    with pytest.raises(AlteredFileError, match=f"{name} was altered.*Put back what was written, or delete it: the command"):
        Learning().run(run)


@pytest.mark.parametrize("name", FILES)
def test_what_is_deleted_is_made_again_with_the_same_bytes(made: Path, run: Path, name: str) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    Learning().run(run)
    again, first = digests(run), digests(made)
    assert again.keys() == first.keys()
    for file in again.keys() - {"captures/states.zarr"}:
        assert again[file] == first[file], file
    assert Run(run).problems() == []


def test_a_chunk_that_is_missing_added_or_renamed_alters_a_capture(run: Path) -> None:
    capture_folder = run / "captures" / "states.zarr"
    chunk = next(path for path in sorted(capture_folder.rglob("c/*")) if path.is_file())
    moved = chunk.with_name("99")
    for change, back in (
        (lambda: chunk.rename(moved), lambda: moved.rename(chunk)),
        (lambda: shutil.copy(chunk, moved), moved.unlink),
    ):
        change()
        assert len(Run(run).problems()) == 1
        back()
        assert Run(run).problems() == []
    chunk.unlink()
    assert "captures/states.zarr has" in Run(run).problems()[0]


def test_a_result_that_was_replaced_is_not_shown(run: Path) -> None:
    other = Losses(pd.DataFrame({"loss": [9.0]}))
    assert Run(run).result("losses").to_frame()["loss"].size == 4
    other.save(run / "results" / "losses.parquet")
    for read in (lambda: Run(run).result("losses"), lambda: Run(run).summary("losses")):
        with pytest.raises(AlteredFileError, match=r"losses\.parquet"):
            read()


def test_a_digest_is_computed_once_and_again_when_the_file_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from statescope.probe import files

    computed: list[object] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(files.hashlib, "file_digest", lambda *given: computed.append(given) or digest(*given))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    times = path.stat().st_mtime_ns
    assert files.sha256(path) == files.sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert len(computed) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(times, times))  # of the same size and age: its change of status tells
    assert files.sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_run_of_a_newer_version_says_to_update(run: Path) -> None:
    plain = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(plain | {"schema_version": plain["schema_version"] + 1}))
    with pytest.raises(DamagedRunError, match="is of a newer statescope, and this one reads .*: update statescope"):
        Run(run)
    (run / "manifest.json").write_text(json.dumps(plain | {"schema_version": 0}))
    with pytest.raises(DamagedRunError, match="schema version 0, this program reads"):
        Run(run)


def test_a_run_of_the_first_schema_is_read_verified_and_gone_on_with(made: Path, run: Path) -> None:
    """It listed each file of a capture, and knew nothing of results."""
    plain = json.loads((run / "manifest.json").read_text())
    del plain["results"], plain["files"]["captures/states.zarr"]
    for path in (run / "captures").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            plain["files"][path.relative_to(run).as_posix()] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (run / "manifest.json").write_text(json.dumps(plain | {"schema_version": 1}))
    assert Run(run).problems() == []
    assert Run(run).summary("losses") == "4 losses"
    before = {path: path.stat().st_mtime_ns for path in (run / "captures").rglob("*")}
    Learning().run(run)
    assert {path: path.stat().st_mtime_ns for path in (run / "captures").rglob("*")} == before
    flip(run / "captures" / "states.zarr")
    with pytest.raises(AlteredFileError, match=r"Delete captures/states\.zarr to make it again"):
        Learning().run(run)


# Killed at any moment


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["before the checkpoint is listed", "before the old one is deleted", "while it is written"])
@pytest.mark.parametrize("which", [1, 2, 3, 5])  # the fifth deletion is that of the last checkpoint but one
def test_killed_around_a_checkpoint_it_ends_with_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, which: int
) -> None:
    """Whatever is left between two steps of a save: the listed file is used, an unlisted one counts for nothing."""
    path, study, count = tmp_path / "run", Learning(steps=6), [0]
    whole = digests(study.run(tmp_path / "whole").path)

    def dies(function: object) -> object:
        def dying(*given: object, **more: object) -> object:
            count[0] += 1
            if count[0] == which:
                raise Killed
            return function(*given, **more)  # type: ignore[operator]

        return dying

    with monkeypatch.context() as patch:
        if where == "while it is written":
            patch.setattr("statescope.probe.files.os.fsync", dies(os.fsync))
        elif where == "before the old one is deleted":
            patch.setattr(Path, "unlink", dies(Path.unlink))
        else:
            patch.setattr(Ledger, "record", dies(Ledger.record))
        with pytest.raises(Killed):
            study.run(path)
    # What would be taken for the newest, were names believed: a later step with other weights.
    begun = (path / "manifest.json").exists()
    listed = [name for name in Run(path).manifest.files if name.startswith("checkpoints")] if begun else []
    for stray in (path / "checkpoints").rglob("step-*.safetensors"):
        if stray.relative_to(path).as_posix() not in listed:
            flip(stray)
    study.run(path)
    assert digests(path) == whole
    assert [entry.name for entry in (path / "checkpoints" / "model").iterdir()] == ["step-0000006.safetensors"]
    assert Run(path).problems() == []


@pytest.mark.parametrize("listed", [False, True])
def test_what_a_killed_process_left_of_checkpoints_goes(made: Path, tmp_path: Path, listed: bool) -> None:
    """The newest stays, with the moments, where its step is one to look at as well; so does what is no checkpoint."""
    model = Model(ModelConfig(2, 8, 1, DeltaNet(heads=2)))
    if listed:
        shutil.copytree(made, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "model"
    checkpoints = Checkpoints(folder, Ledger(tmp_path / "run") if listed else None, keep=(3, 10**7))
    for step in (3, 10**7):
        checkpoints.save(model, torch.optim.AdamW(model.parameters()), Progress(step, ()))
        checkpoints.mark(model, Progress(step, ()))
    there = {path.name for path in folder.iterdir()}
    assert there == {"kept-0000003.safetensors", "kept-10000000.safetensors", "step-10000000.safetensors"}
    for name in ("step-0000003", "step-9999999", "step-x", *(("step-10000001", "kept-0000002") if listed else ())):
        shutil.copy(folder / "step-10000000.safetensors", folder / f"{name}.safetensors")
    checkpoints.remove_leftovers()
    assert {path.name for path in folder.iterdir()} == there | {"step-x.safetensors"}
    assert checkpoints.newest == folder / "step-10000000.safetensors" and checkpoints.steps == [3, 10**7]


# A figure is no reason to lose a result


def test_a_figure_that_fails_loses_nothing_and_is_drawn_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Losses, "broken", True)
    with pytest.warns(RunWarning, match=r"the figure of losses could not be drawn \(ZeroDivisionError: a fault of the figure\)"):
        Learning().run(tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.status == "finished" and run.result("losses").summary() == "4 losses"
    assert not any(name.startswith("figures") for name in run.manifest.files)
    times = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.parquet")}
    monkeypatch.setattr(Losses, "broken", False)
    Learning().run(run.path)
    assert {"figures/losses.svg", "figures/losses.png"} <= set(Run(run.path).manifest.files)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*.parquet")} == times


# Settings are checked before a folder is made


def test_settings_that_do_not_fit_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the model 'model' cannot be built"):
        Learning(width=9, heads=2).run(tmp_path / "run")
    with pytest.raises(ValueError, match="the model 'model' cannot be built"):
        Learning(width=10_000_000, heads=1).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_in_which_nothing_was_finished_gives_way_to_other_settings(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Failing(Study, kind="folder_failing"):
        wrong: bool = True

        def execute(self, run: Run) -> None:
            if self.wrong:
                raise ValueError("too late to know")
            run.compute("losses", loss)

    with pytest.raises(ValueError, match="too late"):
        Failing().run(tmp_path / "run")
    assert Run(tmp_path / "run").status == "failed"
    assert Failing(wrong=False).run(tmp_path / "run").status == "finished"
    with pytest.raises(OtherRunError, match=r"other settings \(wrong\)"):
        Failing().run(tmp_path / "run")


# Places where no run can be


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "is a file and no folder"),
        ("file/inside", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("/proc/statescope", "cannot be made|No such file"),
        ("nul\0byte", "null byte"),
    ],
)
def test_a_place_where_no_run_can_be_is_explained(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "file").write_text("keep me")
    with pytest.raises((OtherRunError, UnwritableError), match=message) as caught:
        Learning().run(tmp_path / place)
    assert "Errno" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "keep me"


@pytest.mark.parametrize("closed", ["", "results", "checkpoints/model", ".lock"])
def test_a_run_that_can_only_be_read_is_refused_with_the_fix_before_any_work(made: Path, closed: str) -> None:
    """Wherever in it the first write would have failed, minutes of training later. It is still read."""
    with open_to_guests() as held:
        run = held / "a run"
        shutil.copytree(made, run)
        if not os.geteuid():
            for place in (run, *run.rglob("*")):
                os.chown(place, 65534, 65534)
        place = run / closed
        place.touch() if closed == ".lock" else None
        place.chmod(0o444 if closed == ".lock" else 0o555)
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        manifest = Run(run).manifest
        with as_a_guest():
            with pytest.raises(UnwritableError) as told, Run.working(run, manifest.study, manifest.configuration, 0):
                raise AssertionError("it was worked in")
            assert f"{place} may be read but not written to" in str(told.value)
            assert f"chmod -R u+w '{run}'" in str(told.value) and "statescope run 'a run-copy'" in str(told.value)
            assert Run(run).result("losses").table["loss"].size == 4
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        place.chmod(0o755)
        with as_a_guest(), Run.working(run, manifest.study, manifest.configuration, 0) as gone_on:
            assert gone_on.path == run


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system's own refusal of a larger file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_a_checkpoint_is_a_sentence_and_keeps_the_last(tmp_path: Path) -> None:
    model = Model(ModelConfig(2, 64, 1, DeltaNet(heads=2)))
    checkpoints = Checkpoints(tmp_path)
    save_checkpoint(tmp_path / "step-0000001.safetensors", model, None, Progress(1, (0.5,)))
    with (
        files_of_at_most(20_000),
        pytest.raises(DiskFullError, match="no room to write step-0000002.*ulimit -f.*kept: raise the limit") as caught,
    ):
        save_checkpoint(tmp_path / "step-0000002.safetensors", model, None, Progress(2, (0.5, 0.5)))
    assert "Errno" not in str(caught.value) and "MiB free" not in str(caught.value), "there is room enough"
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001.safetensors"]
    assert checkpoints.restore(model).step == 1


def test_a_run_whose_disk_fills_goes_on_once_there_is_room(made: Path, tmp_path: Path) -> None:
    with files_of_at_most(9_000), pytest.raises(DiskFullError):
        Learning().run(tmp_path / "run")
    Learning().run(tmp_path / "run")
    assert digests(tmp_path / "run").keys() == digests(made).keys()
    assert Run(tmp_path / "run").problems() == []
