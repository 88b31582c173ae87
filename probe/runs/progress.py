"""Progress of a run, for whoever waits: a terminal, or another process that reads the folder."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..configuration import Configuration, Natural, from_plain
from ..errors import StatescopeError
from ..files import read_json, write_bytes

FILE = "progress.json"


class Reporter(Protocol):
    """What shows the progress of a run."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, of `total` steps where that is known."""

    def advance(self, done: int, note: str) -> None:
        """`done` steps of the stage are behind; `note` is a short text such as the loss."""

    def warn(self, text: str) -> None:
        """Something went wrong that does not end the run, such as a figure that could not be drawn."""

    def end(self) -> None:
        """The run is over, finished or not."""


class RunWarning(UserWarning):
    """What a run has to say where nothing shows its progress."""


class Silent:
    """Shows no progress; what went wrong is a RunWarning."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, done: int, note: str) -> None: ...

    def warn(self, text: str) -> None:
        warnings.warn(text, RunWarning, stacklevel=4)

    def end(self) -> None: ...


@dataclass(frozen=True)
class Stage(Configuration):
    """What progress.json says: a stage of a run, its steps, and the process that works on it."""

    stage: str
    done: Natural = 0
    total: Natural | None = None
    note: str = ""
    pid: int = 0
    time: float = 0.0


class ProgressFile:
    """Writes progress.json a few times a second and passes everything on to another reporter."""

    def __init__(self, folder: Path, shown: Reporter) -> None:
        self.path = folder / FILE
        self.shown = shown
        self.state = Stage("", pid=os.getpid())
        self.written = 0.0

    def stage(self, name: str, total: int | None) -> None:
        self.state = Stage(name, total=total, pid=os.getpid())
        self._write()
        self.shown.stage(name, total)

    def advance(self, done: int, note: str = "") -> None:
        self.state = replace(self.state, done=done, note=note)
        if time.monotonic() - self.written > 0.3:
            self._write()
        self.shown.advance(done, note)

    def warn(self, text: str) -> None:
        self.shown.warn(text)

    def end(self) -> None:
        self.shown.end()

    def _write(self) -> None:
        plain = vars(replace(self.state, time=time.time()))
        with contextlib.suppress(OSError):  # a run does not end because its progress cannot be shown
            write_bytes(self.path, json.dumps(plain).encode(), durable=False)
        self.written = time.monotonic()


def read_progress(folder: Path) -> dict[str, Any] | None:
    """The last progress written in a run folder, the fields of Stage; None where there is none, or what stands there is none."""
    try:
        return dict(vars(from_plain(Stage, read_json(folder / FILE))))
    except StatescopeError:
        return None
