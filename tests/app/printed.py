"""What a command prints, and a study that takes no time; several tests share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import pytest

from statescope import Run, Study
from statescope.app.cli import main
from statescope.probe.results.figure import Figure, Line, Panel
from statescope.probe.results.result import Result


@dataclass(frozen=True)
class Counts(Result, kind="command_line_counts"):
    columns: ClassVar[dict[str, str]] = {"x": "a number"}

    def summary(self) -> str:
        return "[/x] [red]three\x1b[31m[/red]"

    def specification(self) -> Figure:
        x = self.table["x"].to_numpy()
        return Figure("Counts", [Panel([Line(x, x)], "x", "y")])


@dataclass(frozen=True)
class Counting(Study, kind="command_line_counting"):
    upto: int = 3
    fails: str = ""

    def execute(self, run: Run) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        run.compute("counts", self.counts)

    def counts(self) -> Counts:
        return Counts(pd.DataFrame({"x": range(self.upto)}))


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    err: str

    def is_a_sentence(self) -> bool:
        """No traceback, no control character but the end of a line."""
        text = self.out + self.err
        return "Traceback" not in text and all(one == "\n" or one.isprintable() for one in text)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Printed:
    """What a command prints, and its exit code. What it raises, a user would see as a traceback."""
    capsys.readouterr()
    code = 0
    try:
        main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    printed = capsys.readouterr()
    return Printed(code, printed.out, printed.err)
