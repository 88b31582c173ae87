"""The table of `make fuzz`: some of each kind, and that what goes wrong is counted as such."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import report

from statescope.app import cli


@pytest.mark.parametrize("kind", report.KINDS)
def test_what_is_damaged_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    found = list(islice(report.KINDS[kind](tmp_path), 20))
    assert "refused" in found and set(found) <= {"refused", "sound"}


def test_a_crash_and_a_loss_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise KeyError("x")

    def prints(text: str) -> Any:
        return lambda arguments: print(text)

    for main, outcome in ((fails, "crashed"), (prints("Traceback"), "crashed"), (prints("\x1b[31m"), "crashed")):
        monkeypatch.setattr(report, "main", main)
        assert report.command("list")[0] == outcome
    monkeypatch.setattr(report, "main", prints('[{"run": "odd"}]'))
    assert next(report.manifests(tmp_path)) == "lost"
    monkeypatch.setattr(report, "main", cli.main)
    monkeypatch.setattr(cli, "_command", fails)
    assert report.command("list")[0] == "crashed"  # an error that was not foreseen, though it ends in a sentence
    monkeypatch.setattr(report, "Table", fails)
    (tmp_path / "tables").mkdir()
    assert set(islice(report.tables(tmp_path / "tables"), 5)) == {"crashed"}
