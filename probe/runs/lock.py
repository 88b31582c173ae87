"""Who works in a run folder. A lock goes with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StatescopeError
from ..files import UnwritableError, explaining_failed_writes

LOCK = ".lock"
WORKERS = ".workers"


class RunInUseError(StatescopeError, RuntimeError):
    """Another process works in the run folder."""


class ForeignLockError(UnwritableError):
    """Something that is no lock of ours stands in its place."""


@contextmanager
def locked(folder: Path, name: str = LOCK, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock of the folder. Raises RunInUseError while another process holds it.

    The lock's file is opened as it is, never through a link, and nothing is written to it.
    """
    descriptor = _open(folder / name)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunInUseError(f"another process works in {folder}; wait for it, or give another folder with --out") from error
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with explaining_failed_writes(path):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise ForeignLockError(error.errno, f"{path} is a link or no file; delete it and run again") from error
            raise


def is_locked(folder: Path, name: str = LOCK) -> bool:
    """Whether a process works in the folder."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
