"""The models in folders that the command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from ..probe.errors import StatescopeError
from ..probe.runs.manifest import FILE as MANIFEST

CONFIGURATION = "config.json"
MOST = 200


class NoModelError(StatescopeError, ValueError):
    """A folder that holds no model."""


class RunItselfError(StatescopeError, ValueError):
    """A run where the folder that it lies in is asked for."""


def check_folder(path: Path) -> None:
    """Raise NoModelError where a folder neither is that of a model nor holds folders that are."""
    if models_in([path]):
        return
    if (path / MANIFEST).is_file():
        raise NoModelError(f"{path} is a run, whose models the app shows beside it: {_opening(path)}")
    what = "is no folder" if not path.is_dir() else "holds no model: a model is a folder with config.json and safetensors"
    raise NoModelError(f"{path} {what}; a run is opened by --folder, from the folder that it lies in")


def check_runs_folder(path: Path) -> None:
    """Raise RunItselfError where the folder of runs is one of them, which would be shown as a folder without any."""
    if (path / MANIFEST).is_file():
        raise RunItselfError(f"{path} is a run, and --folder needs the folder that it lies in: {_opening(path)}")


def _opening(run: Path) -> str:
    path = run.resolve()
    return f"statescope app --folder {quote(str(path.parent))}, where the box at the side has {path.name}"


def models_in(folders: Sequence[Path]) -> dict[str, Path]:
    """The models in folders, by names of which each stands for one: that of its folder, with a number where several are alike.

    A folder with config.json is a model, as is each of its own folders that has one; no link among them is followed.
    """
    found: list[Path] = []
    for folder in filter(Path.is_dir, folders):
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
        found += [path for path in (folder, *inner) if (path / CONFIGURATION).is_file()]
    named: dict[str, Path] = {}
    for path in dict.fromkeys(found[:MOST]):
        alike = sum(one.name == path.name for one in named.values())
        named[path.name if not alike else f"{path.name} ({alike + 1})"] = path
    return named
