"""What a user sees who owns nothing here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_a_guest() -> Iterator[None]:
    """As a user who owns nothing here; the tests' own user may be one that every folder is open to."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_to_guests() -> Iterator[Path]:
    """A new folder, which a guest can look into."""
    with tempfile.TemporaryDirectory(prefix="statescope-") as held:
        Path(held).chmod(0o755)
        yield Path(held)
