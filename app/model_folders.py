"""The models in folders that the command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..probe.errors import StatescopeError

CONFIGURATION = "config.json"
MOST = 200


class NoModelError(StatescopeError, ValueError):
    """A folder that holds no model."""


def check_folder(path: Path) -> None:
    """Raise NoModelError where a folder neither is that of a model nor holds folders that are."""
    if not models_in([path]):
        what = "is no folder" if not path.is_dir() else "holds no model: a model is a folder with config.json and safetensors"
        raise NoModelError(f"{path} {what}; a run is opened by --folder, from the folder that it lies in")


def models_in(folders: Sequence[Path]) -> dict[str, Path]:
    """The models in folders, by names of which each stands for one: that of its folder, with a number where several are alike.

    A folder with config.json is a model; of another one its own folders are looked at, but no link among them is followed.
    """
    found: list[Path] = []
    for folder in folders:
        if (folder / CONFIGURATION).is_file():
            found.append(folder)
        elif folder.is_dir():
            inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
            found += [path for path in inner if (path / CONFIGURATION).is_file()]
    named: dict[str, Path] = {}
    for path in dict.fromkeys(found[:MOST]):
        alike = sum(one.name == path.name for one in named.values())
        named[path.name if not alike else f"{path.name} ({alike + 1})"] = path
    return named
