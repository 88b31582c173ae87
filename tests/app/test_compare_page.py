"""Two runs side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from opened_app import charts
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from statescope import Run

MAIN = Path(__file__).resolve().parents[2] / "app" / "server" / "main.py"


def open_page(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("STATESCOPE_RUNS", str(folder))
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    app._page_hash = calc_hash("compare")
    return app.run()


@pytest.fixture
def two(finished: Path, tmp_path: Path) -> Path:
    """A run, and its twin with another setting in a table and another result."""
    for name in ("one", "two"):
        shutil.copytree(finished / "parity", tmp_path / name)
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    manifest["configuration"]["training"]["steps"] = 99
    (tmp_path / "two" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_one_selection_is_shown_of_both_runs(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(two, monkeypatch, run="one", beside="two", result="transition spectrum", model="[0, 1]")
    assert not app.exception and not app.error
    assert [header.value for header in app.subheader] == ["one", "two"]
    drawn = charts(app)
    assert len(drawn) == 2 and drawn[0]["data"][0]["y"] == drawn[1]["data"][0]["y"]
    assert {trace["name"] for chart in drawn for trace in chart["data"]} == {"[0, 1]", "unit circle"}


def test_the_settings_that_differ_are_named(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(two, monkeypatch, run="one", beside="two")
    table = app.dataframe[0].value
    assert table.index.tolist() == ["training.steps"]
    steps = Run(two / "one").manifest.configuration["training"]["steps"]
    assert table.loc["training.steps"].tolist() == [str(steps), "99"]


def test_one_run_alone_has_nothing_beside_it(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(two / "two")
    app = open_page(two, monkeypatch)
    assert not app.exception
    assert app.info[0].value == "Two runs are needed to compare."
