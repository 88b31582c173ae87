"""Progress of a run, for whoever waits: a terminal, or another process that reads the folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

FILE = "progress.json"


class Reporter(Protocol):
    """What shows progress."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, of `total` steps where that is known."""

    def advance(self, done: int, note: str) -> None:
        """`done` steps of the stage are behind; `note` is a short text such as the loss."""


class Silent:
    """Shows nothing."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, done: int, note: str) -> None: ...


class ProgressFile:
    """Writes progress.json a few times a second and passes everything on to another reporter."""

    def __init__(self, folder: Path, shown: Reporter) -> None:
        self.path = folder / FILE
        self.shown = shown
        self.state: dict[str, Any] = {}
        self.written = 0.0

    def stage(self, name: str, total: int | None) -> None:
        self.state = {"stage": name, "done": 0, "total": total, "note": "", "pid": os.getpid()}
        self._write()
        self.shown.stage(name, total)

    def advance(self, done: int, note: str = "") -> None:
        self.state |= {"done": done, "note": note}
        if time.monotonic() - self.written > 0.3:
            self._write()
        self.shown.advance(done, note)

    def _write(self) -> None:
        temporary = self.path.with_name(f".{FILE}.part")
        temporary.write_text(json.dumps(self.state | {"time": time.time()}))
        temporary.replace(self.path)
        self.written = time.monotonic()


def read_progress(folder: Path) -> dict[str, Any] | None:
    """The last progress written in a run folder, or None."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return None
    return found
