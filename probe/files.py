"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StatescopeError


class DiskFullError(StatescopeError, OSError):
    """There is no room for a file. What was on disk before is as it was."""


@contextmanager
def reporting_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says which file, how much is free, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        status = os.statvfs(path.parent)
        raise DiskFullError(
            error.errno,
            f"no room to write {path.name} ({status.f_bavail * status.f_frsize / 2**20:.1f} MiB free in {path.parent}). "
            "Everything finished before is kept: free some space and run the same command again",
        ) from error


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to disk, and only then give it the name `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with reporting_full_disk(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    write_whole(path, lambda temporary: _fill(temporary, data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def with_ending(path: str | Path, ending: str) -> Path:
    """The path with an ending, put behind a name that lacks it; it takes the place of nothing, since names may hold dots."""
    path = Path(path)
    return path if path.name.endswith(ending) else path.with_name(path.name + ending)


def sha256(path: Path) -> str:
    """The digest of a file, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left behind."""
    for leftover in folder.rglob(".*.part"):
        leftover.unlink(missing_ok=True)
