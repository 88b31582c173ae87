"""A study in a file of one's own runs, resumes, is shown, and is never run because a folder names it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from printed import Printed, call

from statescope import Study
from statescope.probe.results.result import Result

# A study in a file of one's own

MINE = """
from dataclasses import dataclass
from typing import ClassVar
import pandas as pd
from statescope import Run, Study
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result

@dataclass(frozen=True)
class Squares(Result, kind="my_squares"):
    columns: ClassVar[dict[str, str]] = {"x": "a number", "square": "its square"}

    def summary(self) -> str:
        return f"the last square is {self.table['square'].iloc[-1]}"

    def specification(self) -> Figure:
        return Figure("Squares", [Panel([Line(self.table["x"].to_numpy(), self.table["square"].to_numpy())], "x", "y")])

@dataclass(frozen=True)
class Sweep(Study, kind="my-sweep"):
    upto: int = 4
    question = "What are the squares?"

    def execute(self, run: Run) -> None:
        run.compute("squares", squares, upto=self.upto)

def squares(upto: int) -> Squares:
    return Squares(pd.DataFrame({"x": range(upto), "square": [value * value for value in range(upto)]}))
"""


@pytest.fixture
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Printed]:
    """A command in a folder, as in a process of its own: what it imports of the user's files is forgotten."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Printed:
        modules, known = set(sys.modules), {base: dict(base.known) for base in (Study, Result)}
        try:
            return call(capsys, *arguments)
        finally:
            for name in [name for name in set(sys.modules) - modules if name.startswith("my_study")]:
                del sys.modules[name]
            for base, before in known.items():
                base.known.clear()
                base.known.update(before)

    return command


def test_a_study_in_a_file_of_ones_own_runs_resumes_and_is_shown(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    (tmp_path / "my_study.py").write_text(MINE)
    done = afresh("run", "my_study.py", "--upto", "3", "--out", "runs/mine")
    assert done.code == 0, done.err
    assert "the last square is 4" in done.out
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")}
    for again in (["my_study.py:Sweep", "runs/mine"], ["my_study.py:my-sweep", "--upto", "3", "--out", "runs/mine"]):
        assert afresh("run", *again).code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")} == times
    other = afresh("run", "my_study.py", "--out", "runs/mine")
    assert other.code == 1 and "other settings (upto)" in other.err
    assert "the last square is 4" in afresh("show", "mine").out  # without the file, from the manifest
    assert afresh("run", "my_study.py:Sweep", "--seeds", "0..1", "--out", "runs/seeds").code == 0
    assert {path.parent.name for path in (tmp_path / "runs/seeds").rglob("squares.parquet")} == {"results", "seed-0", "seed-1"}


def test_a_run_names_no_file_to_run(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    """Going on by the folder alone: of a study that is not installed, the user has to name the file."""
    (tmp_path / "my_study.py").write_text(MINE)
    assert afresh("run", "my_study.py", "--out", "runs/mine").code == 0
    (tmp_path / "my_study.py").write_text(MINE + "\nopen('it-was-run', 'w')\n")
    told = afresh("run", "runs/mine")
    assert told.code == 1
    assert "a run of 'my-sweep', a study that neither" in told.err and "statescope run my_study.py runs/mine" in told.err
    assert not (tmp_path / "it-was-run").exists()
    assert afresh("run", "my_study.py", "runs/mine").code == 0
    assert (tmp_path / "it-was-run").exists()


@pytest.mark.parametrize(
    ("text", "argument", "message"),
    [
        (None, "", "does not exist"),
        ("x = 1\n", "", "holds no study"),
        ("x = 1 / 0\n", "", "line 1: ZeroDivisionError"),
        (MINE + MINE.replace("Sweep", "Other").replace("my-", "your-").replace("my_", "your_"), "", ":Sweep, "),
        (MINE, ":Sweeep", "did you mean 'Sweep'"),
        (
            MINE.replace("upto: int = 4", "upto: int").replace("(Study, kind", "(Study, kw_only=True, kind"),
            "",
            "cannot be imported",
        ),
    ],
)
def test_a_file_without_the_study_says_so(
    tmp_path: Path, afresh: Callable[..., Printed], text: str | None, argument: str, message: str
) -> None:
    if text is not None:
        (tmp_path / "my_study.py").write_text(text)
    told = afresh("run", f"my_study.py{argument}")
    assert told.code == 1 and told.is_a_sentence() and message in told.err, told.err


def test_a_study_of_ones_own_cannot_take_a_name_of_ours(tmp_path: Path, afresh: Callable[..., Printed]) -> None:
    (tmp_path / "my_study.py").write_text(MINE.replace("my-sweep", "hybrid"))
    told = afresh("run", "my_study.py")
    assert told.code == 1 and "the study 'hybrid' is declared by" in told.err and "rename one" in told.err
    assert not (tmp_path / "runs").exists()
