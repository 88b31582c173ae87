"""Imports that several threads need.

Two threads may not import parts of one package at once. Each holds the module that it imports; where each waits for the other's,
Python lets one of them go on with a module of which only the first lines have run, and the import fails. So the first that
needs them imports, and the others wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Once:
    """Work that is done by the first thread that calls, while any other that calls waits for its end; and never again."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        """Return once the work is done. What it raises reaches its caller, and the next one tries again."""
        with self._lock:
            if not self._done:
                self._work()
                self._done = True
