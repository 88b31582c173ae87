"""What may stand in a run folder, what may be done to it, and that nothing outside it is ever touched."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch

from statescope import DeltaNet, Direction, ModelConfig, Parity, Run, Study, Training, capture, generator_for
from statescope.probe.configuration import Count
from statescope.probe.files import DiskFullError, UnwritableError
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result
from statescope.probe.runs.checkpoint import Checkpoints, Progress, save_checkpoint
from statescope.probe.runs.ledger import Ledger
from statescope.probe.runs.lock import ForeignLockError
from statescope.probe.runs.manifest import AlteredFileError, DamagedRunError
from statescope.probe.runs.progress import RunWarning, read_progress
from statescope.probe.runs.run import OtherRunError


@dataclass(frozen=True)
class Losses(Result, kind="folder_losses"):
    columns: ClassVar[dict[str, str]] = {"loss": "a number"}
    broken: ClassVar[bool] = False

    def summary(self) -> str:
        return f"{len(self.table)} losses"

    def specification(self) -> Figure:
        if self.broken:
            raise ZeroDivisionError("a fault of the figure")
        x = self.table["loss"].to_numpy()
        return Figure("Losses", [Panel([Line(x, x)], "x", "y")])


@dataclass(frozen=True)
class Learning(Study, kind="folder_learning"):
    """Everything a run can hold: checkpoints, a capture, a direction, a result."""

    width: Count = 8
    heads: Count = 2
    steps: Count = 4

    def models(self) -> dict[str, ModelConfig]:
        return {"model": ModelConfig(2, self.width, 1, DeltaNet(heads=self.heads), seed=self.seed)}

    def execute(self, run: Run) -> None:
        training = Training(steps=self.steps, batch=2, length=6, checkpoint_every=2)
        model, history = run.train("model", self.models()["model"], Parity(), training, self.seed)
        batches = [Parity().batch(8, 6, "test", generator_for(self.seed, stream)) for stream in range(3)]
        found = run.capture("states", model, batches, ["blocks.0.hook_resid_post"], [2, 5])
        features = found.features("blocks.0.hook_resid_post")
        present = torch.arange(len(features)) % 2 > 0
        run.keep_direction("odd", Direction.difference_of_means(features, present, hook="blocks.0.hook_resid_post", name="odd"))
        run.compute("losses", losses_of, history=history)


def losses_of(history: Progress) -> Losses:
    return Losses(pd.DataFrame({"loss": history.losses}))


def loss(value: float = 1.0) -> Losses:
    return Losses(pd.DataFrame({"loss": [value]}))


FILES = [
    "checkpoints/model/step-0000004.safetensors",
    "captures/states.zarr",
    "directions/odd.safetensors",
    "results/losses.parquet",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Learning().run(tmp_path_factory.mktemp("made") / "run").path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every entry of a folder, as it is."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


def digests(path: Path) -> dict[str, str]:
    return {name: record.sha256 for name, record in Run(path).manifest.files.items()}


def flip(path: Path) -> None:
    """One bit of a file, or of the largest file of a folder."""
    if path.is_dir():
        path = max((inner for inner in path.rglob("*") if inner.is_file()), key=lambda inner: inner.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


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
@pytest.mark.parametrize("which", [1, 2, 3])
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


# Nothing outside a run is touched


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
    from statescope import Model

    batch = Parity().batch(4, 6, "test", generator_for(0, 1))
    with pytest.raises(FileExistsError, match="is no capture of ours"):
        capture(Model(model), [batch], ["blocks.0.hook_resid_post"], positions=[1], store=outside / "states.zarr")
    assert snapshot(outside) == before


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
    from statescope import Model

    model = Model(ModelConfig(2, 64, 1, DeltaNet(heads=2)))
    checkpoints = Checkpoints(tmp_path)
    save_checkpoint(tmp_path / "step-0000001.safetensors", model, None, Progress(1, (0.5,)))
    with (
        files_of_at_most(20_000),
        pytest.raises(DiskFullError, match="no room to write step-0000002.*Everything finished") as caught,
    ):
        save_checkpoint(tmp_path / "step-0000002.safetensors", model, None, Progress(2, (0.5, 0.5)))
    assert "Errno" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001.safetensors"]
    assert checkpoints.restore(model).step == 1


def test_a_run_whose_disk_fills_goes_on_once_there_is_room(made: Path, tmp_path: Path) -> None:
    with files_of_at_most(9_000), pytest.raises(DiskFullError):
        Learning().run(tmp_path / "run")
    Learning().run(tmp_path / "run")
    assert digests(tmp_path / "run").keys() == digests(made).keys()
    assert Run(tmp_path / "run").problems() == []


# Several workers

WORKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from test_run_folder import loss
    from statescope import Run
    with Run.worker(sys.argv[1]) as run:
        for index in range(5):
            name = f"{sys.argv[2]}{index}"
            run.compute(name, loss, value=float(index))
    """
)


def work(run: Path, names: Sequence[str]) -> None:
    here = str(Path(__file__).parent)
    processes = [subprocess.Popen([sys.executable, "-c", WORKER, str(run), name, here]) for name in names]
    assert [process.wait(120) for process in processes] == [0] * len(processes)


def test_several_workers_write_one_run_and_one_process_merges_their_records(run: Path) -> None:
    with Run.working(run, "folder_learning", Run(run).manifest.configuration, 0) as writer:
        work(run, "ab")
        assert len(list((run / "records").glob("*.json"))) >= 20
        assert "a0" not in writer.result_names
        writer.ledger.merge()
        assert not list((run / "records").iterdir())
        assert {f"{name}{index}" for name in "ab" for index in range(5)} < set(writer.result_names)
    found = Run(run)
    assert found.result("b3").to_frame()["loss"].tolist() == [3.0]
    assert found.summary("a4") == "1 losses"
    assert found.problems() == []


def test_records_that_nobody_merged_are_taken_over_by_the_next_process(run: Path) -> None:
    work(run, "c")
    assert "c0" not in Run(run).result_names
    Learning().run(run)
    assert {f"c{index}" for index in range(5)} < set(Run(run).result_names)


def test_a_worker_is_refused_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"), Run.worker(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
