"""Runs without figures for print, for tests that look at none: they take longer than most studies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from statescope.probe.runs.run import Run


@contextmanager
def no_figures() -> Iterator[None]:
    """Meanwhile runs of this process draw none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_draw", lambda self, name, result: None)
        yield
