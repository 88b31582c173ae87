"""The models in folders that the command line names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from shlex import quote

from ..probe.errors import StatescopeError
from ..probe.files import is_file, may_be_read
from ..probe.runs.run_folder import is_run

CONFIGURATION = "config.json"


class NoModelError(StatescopeError, ValueError):
    """A folder that holds no model."""


class RunItselfError(StatescopeError, ValueError):
    """A run where the folder that it lies in is asked for."""


def check_folder(path: Path) -> None:
    """Raise NoModelError where a folder neither is that of a model nor holds folders that are."""
    if models_in([path]):
        return
    if is_run(path):
        raise NoModelError(f"{path} is a run, whose models the app shows beside it: {_opening(path)}")
    what = "holds no model: a model is a folder with config.json and safetensors"
    if not path.is_dir():
        what = "is no folder"
    elif not may_be_read(path):
        what = "may not be read"
    raise NoModelError(f"{path} {what}; a run is opened by --folder, from the folder that it lies in")


def check_runs_folder(path: Path) -> None:
    """Raise RunItselfError where the folder of runs is one of them, which would be shown as a folder without any."""
    if is_run(path):
        raise RunItselfError(f"{path} is a run, and --folder needs the folder that it lies in: {_opening(path)}")


def _opening(run: Path) -> str:
    path = run.resolve()
    return f"statescope app --folder {quote(str(path.parent))}, where the box at the side has {path.name}"


def models_in(folders: Sequence[Path]) -> dict[str, Path]:
    """The models in folders, by names of which each stands for one: that of its folder, with a number where several are alike.

    A folder with config.json is a model, as is each of its own folders that has one; no link among them is followed. One that may
    not be read hides none of the others.
    """
    named: dict[str, Path] = {}
    for path in dict.fromkeys(_models(folders)):
        names = (path.name if number == 1 else f"{path.name} ({number})" for number in count(1))
        named[next(name for name in names if name not in named)] = path
    return named


def _models(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        inner = sorted(map(Path, _folders(folder)))
        yield from (path for path in (folder, *inner) if is_file(path / CONFIGURATION))


def _folders(folder: Path) -> list[str]:
    """The folders in a folder, without links; none of one that is not there or may not be read."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
