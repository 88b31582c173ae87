"""What holds of every page, whatever it shows: words and numbers for each chart, none of them twice; pages that only lay out."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened_app import ROOT, charts, numbers, open_app
from streamlit.testing.v1 import AppTest

from statescope import Run
from statescope.app.pages.live_page import LivePage
from statescope.app.pages.page import FolderPage, Page
from statescope.app.server.navigation import every_page, names_shown

LONGEST = 150  # lines
FLAT = {"scatter", "bar", "heatmap", "histogram"}  # what plotly draws without WebGL
MOST_IN_SPACE = 8
NUMERICAL = {"numpy", "torch", "scipy", "sklearn", "math", "plotly", "matplotlib"}
OF_RUNS, OF_FOLDERS, OF_MODELS = sorted(Page.kinds()), sorted(FolderPage.kinds()), sorted(LivePage.kinds())


def held(app: AppTest) -> list[dict[str, Any]]:
    """The charts of a page, once it is seen that they have words and numbers, and that none stands there twice."""
    assert not app.exception and not app.error and app.header
    drawn = charts(app)
    for chart in drawn:
        assert chart["layout"]["template"]["layout"]["colorway"][0] != "#000001", "Streamlit's own template reached a figure"
        assert len(chart["alt"].split()) > 3, "no sentence for who cannot see it"
        for bar, values in bars(chart):
            whole = np.unique(values[np.isfinite(values)])
            if len(whole) > 1 and (whole == np.round(whole)).all() and np.ptp(whole) < 12 and bar.get("tickvals") is not None:
                assert (numbers(bar["tickvals"]) == np.round(numbers(bar["tickvals"]))).all()
            elif len(whole) > 1 and (whole == np.round(whole)).all():
                assert np.ptp(whole) >= 12, f"the bar of whole numbers {whole} has other ticks"
    tables = np.concatenate([frame.value.select_dtypes("number").to_numpy(float).ravel() for frame in app.dataframe] or [[]])
    for chart in drawn:
        told = [np.isin(values.round(6), tables.round(6)).mean() for values in coordinates(chart)]
        assert max(told) > 0.5, f"a chart without its numbers: {chart['alt']}"
    in_space = [chart for chart in drawn if any(trace["type"] not in FLAT for trace in chart["data"])]
    assert len(in_space) <= MOST_IN_SPACE, "more than a browser has WebGL contexts for"
    data = [json.dumps(chart["data"], sort_keys=True) for chart in drawn]
    assert len(set(data)) == len(data), "one chart stands there twice"
    return drawn


def coordinates(chart: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """What the marks of a chart lie at, along each axis that has numbers: the points, the lengths of bars, the cells of a map."""
    for trace in chart["data"]:
        for given in (trace.get(axis) for axis in "xyz"):
            if given is not None and not (isinstance(given, list) and any(isinstance(value, str) for value in given)):
                values = numbers(given).ravel()
                values = values[np.isfinite(values)]
                if len(np.unique(values)) > 1 and (values != np.round(values)).any():  # places in a row are no numbers
                    yield values


def bars(chart: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """The colour bars of a chart, each with the values that its colours stand for."""
    for trace in chart["data"]:
        for holder, values in ((trace, trace.get("z")), (trace.get("marker", {}), trace.get("marker", {}).get("color"))):
            if "colorbar" in holder and values is not None and not isinstance(values, str):
                yield holder["colorbar"], numbers(values).ravel()


@pytest.mark.parametrize("run", ["parity", "source"])
@pytest.mark.parametrize("page", OF_RUNS)
def test_a_page_of_a_run(finished: Path, monkeypatch: pytest.MonkeyPatch, page: str, run: str) -> None:
    pages = every_page(Page)
    (own,) = [one for one in pages if one.kind == page]
    if not own.always and not names_shown(own, Run(finished / run), pages):
        return  # what a page says that has nothing to show is tested with the pages
    assert held(open_app(finished, monkeypatch, page, run=run))


@pytest.fixture
def running(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with a run that a process works on: every second of its results is there, and one file that is still written."""
    run = tmp_path / "runs" / "source"
    shutil.copytree(finished / "source", run)
    plain = json.loads((run / "manifest.json").read_text()) | {"outcome": "unfinished"}
    for late in sorted(name for name in plain["files"] if name.startswith("results/"))[::2]:
        del plain["files"][late]
        (run / late).write_bytes((run / late).read_bytes()[:100])
    (run / "manifest.json").write_text(json.dumps(plain))
    (run / "progress.json").write_text(json.dumps({"stage": "training: a", "done": 30, "total": 120, "pid": os.getpid()}))
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield run.parent


@pytest.mark.parametrize("page", OF_RUNS)
def test_a_page_of_a_run_that_is_being_written(running: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """It shows what there is, and says that more is to come."""
    app = open_app(running, monkeypatch, page, run="source")
    assert not app.exception and not app.error and app.header
    assert [told.value for told in app.sidebar.caption if told.value.startswith("It is still running")]


@pytest.mark.parametrize("page", OF_FOLDERS)
def test_a_page_of_all_runs(finished: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    held(open_app(finished, monkeypatch, page, run="source"))


@pytest.mark.parametrize("page", OF_MODELS)
def test_a_page_of_a_model(finished: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_app(finished, monkeypatch, page, run="source", text="f(a, [1])")
    toggles = [toggle for toggle in app.toggle if not toggle.value]
    assert held(toggles[0].set_value(True).run() if toggles else app)


@pytest.mark.parametrize("page", sorted((ROOT / "app" / "pages").glob("*.py")), ids=lambda path: path.stem)
def test_a_page_is_short_and_computes_nothing(page: Path) -> None:
    source = page.read_text()
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom) and node.level == 0}
    assert len(source.splitlines()) <= LONGEST
    assert not {name.partition(".")[0] for name in names} & NUMERICAL
