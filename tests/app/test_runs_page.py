"""The page of all runs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from statescope.app.components.index import runs_there_are
from statescope.app.pages.runs import open_row
from statescope.probe.configuration import to_plain
from statescope.probe.runs.study import study_named

MAIN = Path(__file__).resolve().parents[2] / "app" / "server" / "main.py"


def make(folder: Path, source: Path, name: str, **changes: Any) -> Path:
    """A run folder with a manifest alone."""
    (folder / name).mkdir(parents=True)
    plain = json.loads((source / "manifest.json").read_text()) | changes
    (folder / name / "manifest.json").write_text(json.dumps(plain))
    return folder / name


@pytest.fixture
def every_status(finished: Path, tmp_path: Path) -> Path:
    """One run of each status, and a folder that is no run."""
    folder, source = tmp_path / "runs", finished / "parity"
    folder.mkdir()
    shutil.copytree(source, folder / "done")
    make(folder, source, "stopped", outcome="unfinished", created="2026-01-02T00:00:00+00:00")
    make(folder, source, "wrong", outcome="failed", error="NonFiniteLossError: at step 3")
    busy = make(folder, source, "busy", outcome="unfinished", study="source-code")
    (busy / "progress.json").write_text(json.dumps({"stage": "training: a", "done": 30, "total": 120, "pid": os.getpid()}))
    (folder / "cut").mkdir()
    (folder / "cut" / "manifest.json").write_text('{"schema_version": 2, "study"')
    (folder / "no run").mkdir()
    return folder


def open_page(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("STATESCOPE_RUNS", str(folder))
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    app._page_hash = calc_hash("runs")
    return app.run()


def table(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value.set_index("run")


def test_each_run_stands_with_its_status_and_why(every_status: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (every_status / "busy" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        app = open_page(every_status, monkeypatch)
    assert not app.exception
    shown = table(app)
    states = {"done": "finished", "stopped": "interrupted", "wrong": "failed", "busy": "running", "cut": "damaged"}
    assert {name: status.split(" ", 1)[1] for name, status in shown["status"].items()} == states
    assert shown.loc["busy", "done"] == 0.25 and shown.loc["busy", "note"] == "training: a"
    assert shown.loc["wrong", "note"] == "NonFiniteLossError: at step 3"
    assert "cut/manifest.json cannot be read" in shown.loc["cut", "note"]
    assert pd.isna(shown.loc["done", "done"]) and shown.loc["done", "results"] > 3
    assert list(shown.index)[-1] == "cut", "what says no time comes last"
    assert app.main.caption[0].value == "1 finished, 1 running, 1 interrupted, 1 failed, 1 damaged"


@pytest.mark.parametrize(
    ("seeds", "study", "seed"),
    [((0, 1, 2, 3, 4), "parity (seeds 0-4)", ""), ((5,), "parity", "5"), ((0, 2), "parity (seeds 0, 2)", "")],
)
def test_a_run_over_seeds_shows_its_study_and_the_seeds(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...], study: str, seed: str
) -> None:
    over = study_named("parity").over(seeds)
    make(tmp_path, finished / "parity", "several", study=over.kind, configuration=to_plain(over))
    monkeypatch.setenv("STATESCOPE_RUNS", str(tmp_path))
    app = open_page(tmp_path, monkeypatch)
    assert not app.exception
    shown = table(app).loc["several"]
    assert shown["study"] == study and shown["seed"] == seed
    assert list(table(open_page(tmp_path, monkeypatch, study=study)).index) == ["several"]
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    app.query_params["run"] = "several"
    app.run()
    assert not app.exception
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["seed" if len(seeds) == 1 else "seeds"] == (study.partition("seeds ")[2].rstrip(")") or "5")
    assert any(text.value == study_named("parity").question for text in app.text)


def test_filters_stand_in_the_address(every_status: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(table(open_page(every_status, monkeypatch, status="failed")).index) == ["wrong"]
    assert list(table(open_page(every_status, monkeypatch, study="source-code")).index) == ["busy"]
    assert list(table(open_page(every_status, monkeypatch, search="nonfinite step")).index) == ["wrong"]
    nothing = open_page(every_status, monkeypatch, search="nothing like it")
    assert not nothing.dataframe and nothing.info[0].value == "No run fits."
    odd = open_page(every_status, monkeypatch, status="![x](http://host.example)")
    assert len(table(odd)) == 5 and any("host.example" in told.value for told in odd.warning)


def test_a_click_chooses_the_run_of_all_pages(every_status: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATESCOPE_RUNS", str(every_status))
    shown = runs_there_are()
    state: dict[str, Any] = {"run": "done"}
    monkeypatch.setattr(st, "session_state", state)
    for rows, expected in (([2], shown[2].name), ([0], shown[0].name), ([], shown[0].name), ([len(shown) - 1], shown[0].name)):
        state["runs"] = {"selection": {"rows": rows}}
        open_row(shown)
        assert state["run"] == expected
    assert shown[-1].status == "damaged", "a damaged one cannot be looked at"


def test_a_manifest_is_read_again_only_when_it_changes(every_status: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from statescope.app.components import index

    monkeypatch.setenv("STATESCOPE_RUNS", str(every_status))
    index._read.cache_clear()
    first = {facts.name: facts.status for facts in runs_there_are()}
    read = index._read.cache_info().misses
    assert {facts.name: facts.status for facts in runs_there_are()} == first and index._read.cache_info().misses == read
    path = every_status / "stopped" / "manifest.json"
    path.write_text(path.read_text().replace('"unfinished"', '"finished"'))
    assert {facts.name: facts.status for facts in runs_there_are()} == first | {"stopped": "finished"}
    shutil.rmtree(every_status / "wrong")
    assert "wrong" not in {facts.name for facts in runs_there_are()}


def test_five_hundred_runs_are_listed_from_what_is_known(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        make(tmp_path, finished / "source", f"run-{number:03d}", seed=number, outcome=("finished", "unfinished")[number % 2])
    monkeypatch.setenv("STATESCOPE_RUNS", str(tmp_path))
    begin = time.perf_counter()
    assert len(runs_there_are()) == 500
    middle = time.perf_counter()
    runs_there_are()
    print(f"500 runs: {middle - begin:.2f} s at first, {time.perf_counter() - middle:.3f} s again")
    app = open_page(tmp_path, monkeypatch)
    assert not app.exception and len(table(app)) == 500
