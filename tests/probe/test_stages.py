"""The seconds of a run's stages add up to the time it took, whatever stands within what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from statescope.probe.runs.run import Run


def test_a_stage_within_another_is_counted_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    with Run.working(tmp_path / "run", "nested", {}, 0) as run:
        with run.stage("outer"), run.part("seed-1").stage("inner"):
            time.sleep(0.05)
        with run.stage("second"):
            time.sleep(0.02)
    seconds = Run(tmp_path / "run").manifest.seconds
    assert set(seconds) == {"outer", "second"}
    assert 0.06 <= sum(seconds.values()) <= time.monotonic() - begin


def test_a_stage_that_fails_does_not_hold_those_behind_it(tmp_path: Path) -> None:
    with Run.working(tmp_path / "run", "failing", {}, 0) as run:
        with pytest.raises(ZeroDivisionError), run.stage("failed"):
            raise ZeroDivisionError
        with run.stage("next"):
            pass
    assert set(Run(tmp_path / "run").manifest.seconds) == {"next"}
