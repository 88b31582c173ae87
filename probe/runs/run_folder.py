"""Which folder a study may work in: a new one, an empty one, or one that holds the same study with the same settings."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from ..errors import StatescopeError
from ..files import UnwritableError, is_file, is_leftover
from .lock import LOCK, WORKERS
from .manifest import FILE, Manifest


class OtherRunError(StatescopeError, ValueError):
    """The folder holds the run of a different study or configuration, or something that is no run."""


def refuse_other(path: Path, study: str, configuration: Mapping[str, object]) -> Manifest | None:
    """The manifest of the folder, if there is one. Nothing is written.

    Raises OtherRunError where the folder holds something else, UnwritableError where it cannot be looked into.
    """
    try:
        if not os.path.lexists(path):
            return None
        if not path.is_dir():
            raise OtherRunError(f"{path} is a file and no folder; choose another place for the run")
        if not os.path.lexists(path / FILE):
            own = {LOCK, WORKERS}
            others = [entry.name for entry in path.iterdir() if entry.name not in own and not is_leftover(entry)]
            if others:
                raise OtherRunError(f"{path} is not empty and holds no run; choose another folder")
            return None
    except OSError as error:
        raise UnwritableError(error.errno or 0, f"{path} cannot hold a run: {error.strerror}") from error
    manifest = Manifest.read(path)
    if manifest.files and not is_of(manifest, study, configuration):
        raise OtherRunError(f"{path} holds a run of {_difference(manifest, study, configuration)}; choose another folder")
    return manifest


def make_folder(path: Path) -> None:
    """Make the folder of a run, if it is not there. Raises UnwritableError where none can be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise UnwritableError(getattr(error, "errno", None) or 0, f"{path} cannot be made: {text}") from error


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run, sound or damaged: it has a manifest."""
    return is_file(path / FILE)


def refuse_read_only(path: Path) -> None:
    """Raise UnwritableError where this user may only read a folder of a run, or one in it. Nothing is written to find out, so
    that no work is lost to what the first write would have said.
    """
    found = why_read_only(path)
    if found is not None:
        raise UnwritableError(errno.EACCES, found)


def why_read_only(path: Path) -> str | None:
    """Why a run cannot be gone on with in its folder, and what to do; None where it can be written to."""
    locks = [path / name for name in (LOCK, WORKERS) if (path / name).is_file()]
    closed = next((place for place in (*locks, *_folders(path)) if not _is_writable(place)), None)
    if closed is None:
        return None
    shown, name = quote(str(path)), quote(f"{path.resolve().name}-copy")
    return (
        f"{closed} may be read but not written to, so the run cannot be gone on with there: if it is yours, "
        f"chmod -R u+w {shown}; else copy it to where you may write, cp -r {shown} {name}, and go on with statescope run {name}"
    )


def _folders(path: Path) -> Iterator[Path]:
    """A folder and those in it, but for those of a capture's chunks, which are many and as the capture's own."""
    for folder, inner, _ in os.walk(path):
        yield Path(folder)
        inner[:] = [name for name in inner if not Path(folder).name.endswith(".zarr")]


def _is_writable(place: Path) -> bool:
    needed = os.W_OK | os.X_OK if place.is_dir() else os.W_OK
    return os.access(place, needed, effective_ids=os.access in os.supports_effective_ids)


def is_of(manifest: Manifest, study: str, configuration: Mapping[str, object]) -> bool:
    """Whether a run is of this study with these settings."""
    return (manifest.study, manifest.configuration) == (study, configuration)


def _difference(found: Manifest, study: str, configuration: Mapping[str, object]) -> str:
    if found.study != study:
        return f"the study {found.study}, not {study}"
    differing = [key for key in {*found.configuration, *configuration} if found.configuration.get(key) != configuration.get(key)]
    return f"the same study with other settings ({', '.join(sorted(differing))})"
