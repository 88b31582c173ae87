"""Files that appear whole or not at all, and are read only where they are files.

Whatever opens a file for writing makes a new one beside it and gives it the name at the end: a link that stands under the name is
replaced, never followed. Whatever reads a file of ours opens no link, pipe or device in its place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from .errors import StatescopeError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LARGEST_JSON = 64 * 2**20
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


class UnwritableError(StatescopeError, OSError):
    """A file or folder that cannot be made here: the text says why."""

    def __str__(self) -> str:
        return str(self.strerror)


class DiskFullError(UnwritableError):
    """There is no room for a file. What was on disk before is as it was."""


class DamagedFileError(StatescopeError, ValueError):
    """A file that cannot be read as what it should be, or is not as it was written; the text names it."""


def as_file_name(text: str) -> str:
    """A text as part of the name of a file: letters, digits, "-" and "." in lower case, and "_" for what lies between them.

    Names that differ otherwise alone, as "a b" and "A, b" do, are one; who names several files checks that they differ.
    """
    return re.sub(r"[^\w.-]+", "_", text.lower()).strip("_.") or "_"


@contextmanager
def explaining_failed_writes(path: Path) -> Iterator[None]:
    """Turn what the system says of a failed write into an error that names the file and what to do; nothing is lost by it."""
    try:
        yield
    except StatescopeError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in FULL:
            raise DiskFullError(
                number,
                f"no room to write {path.name} ({_why(number, path.parent)}). "
                f"Everything finished before is kept: {_fix(number)} and run the same command again",
            ) from error
        if number is not None:
            raise UnwritableError(number, f"{path} cannot be written: {os.strerror(number)}") from error
        raise


def _error_number(error: Exception) -> int | None:
    """The system's number of an error; safetensors and others that are not written in Python say it in their text."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said[1]) if said else None


def _fix(number: int) -> str:
    return "raise the limit" if number == errno.EFBIG else "free some space"


def _why(number: int, folder: Path) -> str:
    """What the disk lacks; of files that may not be so large, whoever set that."""
    if number == errno.EFBIG:
        return "this process or this disk allows no file as large: `ulimit -f` says what the process may"
    try:
        status = os.statvfs(folder)
    except OSError:
        return f"in {folder}"
    return f"{status.f_bavail * status.f_frsize / 2**20:.1f} MiB free in {folder}"


def write_whole(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, force it to disk, and only then give it the name `path`.

    durable: False leaves forcing it to the system, for what nobody misses after a power cut.
    """
    with explaining_failed_writes(path), _writing_in(path.parent):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            if durable:
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            if durable:
                _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """Make a folder, and let others see that this process writes in it: a lock that a killed process lets go of."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold a lock of a folder. Raises BlockingIOError where `how` does not wait and another holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            raise
        except OSError:  # a disk without locks
            pass
        yield
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    write_whole(path, lambda temporary: _fill(temporary, data), durable=durable)


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


def is_file(path: Path) -> bool:
    """Whether a file stands there, for all that this user may know: `Path.is_file` raises where a folder may not be read."""
    try:
        return path.is_file()
    except OSError:
        return False


def may_be_read(folder: Path) -> bool:
    """Whether this user may see what is in a folder, and open it."""
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def open_regular(path: Path) -> BufferedReader:
    """A file to read. Raises OSError for what is missing, and for links, pipes, folders and devices."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file")
    return os.fdopen(descriptor, "rb")


def check_regular(path: str | Path) -> None:
    """Raise OSError for what is missing, and for links, pipes, folders and devices: for readers that open files themselves."""
    open_regular(Path(path)).close()


def check_regular_folder(path: Path) -> None:
    """Raise OSError naming what is neither file nor folder at any depth of a folder: for readers that open them themselves."""
    for inner in path.rglob("*"):
        if not stat.S_ISDIR(inner.lstat().st_mode) and not stat.S_ISREG(inner.lstat().st_mode):
            raise OSError(errno.EINVAL, f"{inner.relative_to(path)} is a link, or no file")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises DamagedFileError naming the file where it is missing, no file, too large, no JSON, or nested without end; NaN and
    infinity are no JSON.
    """
    try:
        with open_regular(path) as file:
            data = file.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise ValueError(f"it is larger than {LARGEST_JSON >> 20} MiB")
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise DamagedFileError(f"{path} cannot be read: it is nested without end") from error
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DamagedFileError(f"{path} cannot be read: {text}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def sha256(path: Path) -> str:
    """The digest of a file, as hexadecimal; computed once as long as the file is not touched. Links are not followed."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        return _sha256(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=100_000)
def _sha256(path: Path, *identity: int) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left behind, by the names that `write_whole` gives them.

    Those in a folder in which another process is writing just now stay, for one of them may be its.
    """
    for leftover in list(folder.rglob(".*.part")):
        with suppress(BlockingIOError), _locked(leftover.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if is_leftover(leftover):
                leftover.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a path is a temporary file of `write_whole`."""
    return _LEFTOVER.fullmatch(path.name) is not None and not path.is_symlink() and path.is_file()
