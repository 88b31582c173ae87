"""Run folders: whole or not at all, one process at a time, damage named and contained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from statescope import Run, Study
from statescope.probe.configuration import BadSettingError
from statescope.probe.files import DiskFullError, write_bytes, write_whole
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import DamagedResultError, Result
from statescope.probe.runs.lock import RunInUseError
from statescope.probe.runs.manifest import AlteredFileError, DamagedRunError, Execution
from statescope.probe.runs.run import list_runs
from statescope.probe.runs.run_folder import OtherRunError
from statescope.probe.runs.study import study_named


@dataclass(frozen=True)
class Numbers(Result, kind="test_numbers"):
    columns: ClassVar[dict[str, str]] = {"x": "a number"}

    def summary(self) -> str:
        return f"sum {self.table['x'].sum()}"

    def specification(self) -> Figure:
        x = self.table["x"].to_numpy()
        return Figure("Numbers", [Panel([Line(x, x)], "x", "y")])


@dataclass(frozen=True)
class Counting(Study, kind="test_counting"):
    upto: int = 3

    def execute(self, run: Run) -> None:
        for name in ("first", "second"):
            run.compute(name, self.numbers)

    def numbers(self) -> Numbers:
        return Numbers(pd.DataFrame({"x": range(self.upto)}))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return Counting().run(tmp_path / "run").path


def test_a_run_records_what_it_was(finished: Path) -> None:
    run = Run(finished)
    assert run.status == "finished"
    assert run.manifest.configuration == {"kind": "test_counting", "seed": 0, "upto": 3}
    assert run.result_names == ["first", "second"]
    assert run.result("first").to_frame()["x"].tolist() == [0, 1, 2]
    assert {"python", "torch"} <= set(run.manifest.packages)
    assert run.manifest.hardware["threads"] == 1
    assert set(run.manifest.files) == {
        f"{part}.{suffix}"
        for name in ("first", "second")
        for part, suffix in ((f"results/{name}", "parquet"), (f"figures/{name}", "svg"), (f"figures/{name}", "png"))
    }
    assert run.problems() == []


def test_a_notebook_shows_what_a_run_holds_as_text(finished: Path) -> None:
    shown = Run(finished)._repr_html_()
    assert "<b>Run of test_counting</b>" in shown and "<td>state</td><td>finished</td>" in shown
    assert "<td>second</td><td>sum 3</td>" in shown and "models" not in shown and "error" not in shown
    manifest = finished / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"sum 3"', '"<img src=x>"'))
    assert "<img" not in Run(finished)._repr_html_() and "&lt;img src=x&gt;" in Run(finished)._repr_html_()


def test_nothing_is_computed_twice(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")}
    Counting().run(finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")} == before


def test_other_settings_are_refused(finished: Path) -> None:
    with pytest.raises(OtherRunError, match=r"other settings \(upto\)"):
        Counting(upto=4).run(finished)
    with pytest.raises(OtherRunError, match="holds no run"):
        Counting().run(finished / "results")


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_is_named(finished: Path, damage: str) -> None:
    path = finished / "results" / "second.parquet"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:-20])
    else:
        path.write_bytes(data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 1]) + data[len(data) // 3 + 1 :])
    problems = Run(finished).problems()
    assert len(problems) == 1
    assert problems[0].startswith("results/second.parquet")
    assert Run(finished).result("first").summary() == "sum 3"
    with pytest.raises(AlteredFileError, match=r"second\.parquet"):
        Run(finished).result("second")


def test_a_flipped_bit_in_the_data_is_seen_when_reading(tmp_path: Path) -> None:
    path = Numbers(pd.DataFrame({"x": range(1000)})).save(tmp_path / "numbers.parquet")
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedResultError):
        Result.load(path)


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Counting().run(tmp_path / name)
    (tmp_path / "b" / "manifest.json").write_text('{"schema_version": 1, "study"')
    (tmp_path / "no run").mkdir()
    found = list_runs(tmp_path)
    assert [type(entry).__name__ for entry in found].count("Run") == 2
    (broken,) = [entry for entry in found if isinstance(entry, DamagedRunError)]
    assert "b/manifest.json" in str(broken)


def test_a_run_of_another_schema_is_refused(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    (finished / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(DamagedRunError, match="schema version 99"):
        Run(finished)


SLEEPER = textwrap.dedent(
    """
    import sys, time
    from statescope import Run
    with Run.working(sys.argv[1], "sleeping", {"seed": 0}, 0) as run:
        print("working", flush=True)
        time.sleep(60)
    """
)


def _sleeper(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def test_a_second_process_is_refused_and_a_killed_one_leaves_the_folder_free(tmp_path: Path) -> None:
    process = _sleeper(tmp_path / "run")
    try:
        assert Run(tmp_path / "run").status == "running"
        with (
            pytest.raises(RunInUseError, match="another process works in"),
            Run.working(tmp_path / "run", "sleeping", {"seed": 0}, 0),
        ):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert Run(tmp_path / "run").status == "interrupted"
    with Run.working(tmp_path / "run", "sleeping", {"seed": 0}, 0) as run:
        assert run.status == "running"
    assert Run(tmp_path / "run").status == "finished"


def test_an_error_is_recorded_and_the_run_can_go_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Run.working(tmp_path / "run", "s", {}, 0):
        raise RuntimeError("boom")
    run = Run(tmp_path / "run")
    assert (run.status, run.manifest.error) == ("failed", "RuntimeError: boom")
    with Run.working(tmp_path / "run", "s", {}, 0):
        pass
    assert Run(tmp_path / "run").manifest.error is None


@dataclass(frozen=True)
class Stopping(Study, kind="test_stopping"):
    """It stops the first time, and says in its result how it was carried out the second."""

    def execute(self, run: Run) -> None:
        if not (run.path / "begun").exists():
            (run.path / "begun").touch()
            raise RuntimeError("stopped")
        run.compute("first", self.numbers, given=(run.workers, *run.keep))

    def numbers(self, given: tuple[int, ...]) -> Numbers:
        return Numbers(pd.DataFrame({"x": given}))


def test_who_goes_on_with_a_run_does_so_as_it_was_begun(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        Stopping().run(tmp_path / "run", keep=(0, 10), workers=2)
    run = Stopping().run(tmp_path / "run")
    assert run.result("first").table["x"].tolist() == [2, 0, 10]
    assert Stopping().run(tmp_path / "run", keep=(), workers=3).manifest.execution == Execution(3, "cpu", ())
    plain = json.loads((tmp_path / "run" / "manifest.json").read_text())
    del plain["execution"]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(plain | {"schema_version": 2}))
    assert Stopping().run(tmp_path / "run").keep == ()  # of a run that says nothing of it


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fill(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        with open("/dev/full", "wb") as full:  # the kernel's own "no space left on device"
            full.write(b"new")

    with pytest.raises(DiskFullError, match=r"no room to write file \(.*MiB free in .*kept: free some space"):
        write_whole(path, fill)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, itertools
        from pathlib import Path
        from statescope.probe.files import write_bytes
        path = Path(sys.argv[1])
        for value in itertools.count():
            write_bytes(path, bytes([value % 251]) * 200_000)
            print(flush=True)
        """
    )
    path = tmp_path / "file"
    for wait in (0.0, 0.003, 0.011):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.wait()
        data = path.read_bytes()
        assert len(data) == 200_000
        assert len(set(data)) == 1


def test_leftovers_of_a_killed_process_are_cleared(finished: Path) -> None:
    (finished / "results" / ".x.parquet.abcd_123.part").write_bytes(b"half")
    Counting().run(finished)
    assert not list(finished.rglob("*.part"))


@pytest.mark.parametrize(("device", "why"), [("abacus", "cannot be used here"), ("meta", "neither cpu nor cuda")])
def test_a_device_that_is_not_there_is_a_sentence_before_anything_is_written(tmp_path: Path, device: str, why: str) -> None:
    with pytest.raises(BadSettingError, match=why):
        study_named("parity").run(tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()
