"""Every page with no run, with finished runs and with damaged ones; and what stands in the address."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from opened_app import charts, numbers, open_app, record
from pyarrow import parquet
from streamlit.testing.v1 import AppTest

from statescope import Run

PAGES = (
    "overview",
    "transitions",
    "by_token",
    "memory",
    "automata",
    "states",
    "probes",
    "directions",
    "tangent",
    "training",
    "results",
)


@pytest.mark.parametrize("page", ["overview"])
def test_without_a_run_it_says_which_command_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_app(tmp_path, monkeypatch, page)
    assert not app.exception
    assert "No runs yet" in app.header[0].value
    assert "make demo" in app.code[0].value
    assert "parity-small" in app.button[0].label


@pytest.mark.parametrize("page", ["overview", "transitions", "states", "probes", "directions", "tangent"])  # that this run fills
def test_a_damaged_run_is_named_and_hides_nothing(damaged: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_app(damaged, monkeypatch, page)
    assert not app.exception
    assert list(app.sidebar.selectbox(key="run").options) == ["source"]
    assert "parity/manifest.json" in app.sidebar.error[0].value
    assert any("statescope verify" in error.value for error in app.main.error)


def test_comparing_digests_names_the_damaged_files(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(damaged, monkeypatch)
    next(button for button in app.button if "digest" in button.label).click().run()
    assert any("results/direction_cosines.parquet has 100 bytes" in error.value for error in app.main.error)
    assert any("results/direction_projection.parquet is missing" in error.value for error in app.main.error)


def test_only_damaged_runs_still_offer_a_start(damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (damaged / "parity").rename(folder / "parity")
    app = open_app(folder, monkeypatch)
    assert "No runs yet" in app.header[0].value
    assert "parity/manifest.json" in app.sidebar.error[0].value


def test_the_drawn_numbers_are_the_results(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(finished, monkeypatch, run="parity")
    table = Run(finished / "parity").result("accuracy_by_length").table
    (curve,) = [trace for trace in charts(app)[0]["data"] if trace.get("name") == "[-1, 1]"]
    np.testing.assert_allclose(numbers(curve["y"]), table.loc[table["model"] == "[-1, 1]", "accuracy"])


def test_eigenvalues_are_drawn_at_equal_aspect_with_the_unit_circle(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(finished, monkeypatch, "transitions", run="parity")
    (chart,) = charts(app)
    assert chart["layout"]["yaxis2"]["scaleanchor"] == "x2"
    circle = next(trace for trace in chart["data"] if trace["name"] == "unit circle")
    np.testing.assert_allclose(np.hypot(numbers(circle["x"]), numbers(circle["y"])), 1)


def test_choosing_a_layer_changes_the_chart(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(finished, monkeypatch, "transitions", run="source")
    whole = charts(app)[0]
    app.selectbox(key="layer").select(1).run()
    app.selectbox(key="head").select(0).run()
    part = charts(app)[0]
    cloud = [next(t for t in chart["data"] if t["type"] == "scatter" and t["mode"] == "markers") for chart in (whole, part)]
    table = Run(finished / "source").result("transition_spectrum").table
    chosen = table[(table["layer"] == 1) & (table["head"] == 0)]
    assert len(numbers(cloud[1]["x"])) == min(len(chosen), 1500)
    assert not np.array_equal(numbers(cloud[0]["x"])[:100], numbers(cloud[1]["x"])[:100])


def test_an_address_opens_what_it_names(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(finished, monkeypatch, "states", run="source", layer="1", head="1", position="7")
    assert app.selectbox(key="layer").value == 1
    assert app.slider(key="position").value == 7
    table = Run(finished / "source").result("state_trajectory").table
    row = table[(table["layer"] == 1) & (table["head"] == 1) & (table["position"] == 7)].iloc[0]
    assert {metric.label: metric.value for metric in app.metric}["norm of the state"] == f"{row['norm']:.3f}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("layer", "99"), ("layer", "../../etc"), ("layer", "9" * 20_000), ("position", "nan"), ("run", "../secret")],
)
def test_a_foreign_value_in_the_address_is_told_and_dropped(
    finished: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    page = "overview" if key == "run" else "states"  # the run is told where it is first asked for
    app = open_app(finished, monkeypatch, page, **({"run": "source"} | {key: value}))
    assert not app.exception
    told = [warning.value for warning in app.warning]
    assert any(f"{key}={value[:30]}" in text and len(text) < 500 for text in told)


@pytest.mark.parametrize("page", ["overview", "states", "runs", "atlas", "live_lens", "live_steering"])
def test_what_no_selector_goes_by_is_told_once_with_what_is_possible(
    finished: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """Beside it a number that begins the page anew, which took what was told before with it."""
    asked = {"behind": "zzz", "notes": "../../x", PICTURE: "1"} | ({"generate": "1e99"} if page.startswith("live") else {})
    app = open_app(finished, monkeypatch, page, run="source", **asked)
    assert not app.exception and not app.error
    (told,) = [warning.value for warning in app.warning if "ignores" in warning.value]
    assert "behind=zzz, notes=../../x" in told and "run" in told.partition("goes by `")[2] + told.partition("goes by run")[1]
    assert not [text for text in markdown_of(app) if "host.example" in text]
    app.run()
    assert not app.warning
    assert not open_app(finished, monkeypatch, page, run="source").warning, "what it goes by is not told"


def test_a_link_from_a_page_opens_it_without_a_word(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for each of its selectors is in the address by then."""
    link = {
        "run": "source",
        "model": "Gated DeltaNet",
        "layer": "1",
        "head": "0",
        "view": "space",
        "position": "3",
        "window": "all",
    }
    app = open_app(finished, monkeypatch, "states", **link)
    assert not app.exception and not [warning.value for warning in app.warning]
    assert app.slider(key="position").value == 3 and app.selectbox(key="window").value == "all"


@pytest.mark.parametrize(
    ("page", "asked", "possible"),
    [
        ("live_state", {"text": "0", "position": "9"}, "`position=9`, which is not there (0)"),
        ("states", {"position": "1e400"}, "(0 to "),
        ("runs", {"search": "a" * 9999}, "200 letters at most"),
        ("live_steering", {"change": "two texts apart", "with": "1" * 900}, "500 letters at most"),
    ],
)
def test_a_foreign_value_is_told_with_its_range(
    finished: Path, monkeypatch: pytest.MonkeyPatch, page: str, asked: dict[str, str], possible: str
) -> None:
    app = open_app(finished, monkeypatch, page, **{"run": "parity", **asked})
    assert not app.exception
    (told,) = [warning.value for warning in app.warning]
    assert possible in told and len(told) < 500
    app.run()
    assert not app.warning


PICTURE = "![x](http://host.example/y.png)"


@pytest.fixture
def hostile(finished: Path, tmp_path: Path) -> Path:
    """Runs whose names, settings and tables hold Markdown, HTML and formulas wherever text may stand, beside a sound one."""
    folder = tmp_path / "hostile"
    shutil.copytree(finished, folder)
    run = folder / "source"
    for name in Run(run).result_names:
        result = Run(run).result(name)
        table = result.to_frame()
        for column in table.columns:
            if column in ("model", "token", "direction") and not pd.api.types.is_numeric_dtype(table[column]):
                table[column] = [f"{PICTURE}<img src=x onerror=alert(1)> $x$ {value}" for value in table[column]]
        type(result)(table, result.about).save(run / "results" / f"{name}.parquet")
    record(run, error=PICTURE, outcome="failed", source={"commit": PICTURE}, packages={PICTURE: PICTURE})
    return folder


def markdown_of(app: AppTest) -> list[str]:
    """All text of a page that Streamlit reads as Markdown, without code spans, in which it reads nothing."""
    written = ("markdown", "caption", "error", "warning", "info", "success", "header", "subheader", "title", "metric")
    texts = [str(element.value) for kind in written for element in app.get(kind)]
    labelled = ("metric", "expander", "selectbox", "button", "slider")  # the value of a select box is text of its own
    texts += [str(element.label) for kind in labelled for element in app.get(kind)]
    return [re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", text) for text in texts]


@pytest.mark.parametrize("page", PAGES)
def test_text_of_runs_is_text_on_every_page(hostile: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_app(hostile, monkeypatch, page, run="source")
    assert not app.exception
    assert not [text for text in markdown_of(app) if "host.example" in text or "<img" in text or "$x" in text]
    for chart in charts(app):
        assert "<img" not in json.dumps(chart["layout"])


@pytest.mark.parametrize("key", ["run", "layer", "model", "view"])
def test_text_of_the_address_is_text(finished: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    app = open_app(finished, monkeypatch, "overview" if key == "run" else "states", **({"run": "source"} | {key: PICTURE}))
    assert any("host.example" in warning.value for warning in app.warning), "it is told"
    assert not [text for text in markdown_of(app) if "host.example" in text]


def test_one_odd_result_breaks_no_page(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of the right columns that holds text where numbers belong, and a result of an unknown kind."""
    folder = tmp_path / "odd"
    shutil.copytree(finished, folder)
    run = folder / "parity"
    path = run / "results" / "accuracy_by_length.parquet"
    table = parquet.read_table(path)
    header = json.loads(table.schema.metadata[b"statescope"])
    odd = pa.table({name: ["a"] for name in table.column_names}).replace_schema_metadata(table.schema.metadata)
    parquet.write_table(odd, path)
    foreign = table.replace_schema_metadata({b"statescope": json.dumps(header | {"kind": PICTURE}).encode()})
    parquet.write_table(foreign, run / "results" / "training.parquet")
    record(run)
    app = open_app(folder, monkeypatch, run="parity")
    assert not app.exception
    told = " ".join(error.value for error in app.error)
    assert "cannot be drawn" in told
    assert any("probes" in expander.label for expander in app.expander), "what is sound is shown"
    assert not [text for text in markdown_of(app) if "host.example" in text]
    app = open_app(folder, monkeypatch, "training", run="parity")
    assert not app.exception and "install the plug-in" in " ".join(error.value for error in app.error)
    assert not [text for text in markdown_of(app) if "host.example" in text]


def test_a_file_does_not_say_which_process_is_stopped(finished: Path) -> None:
    from statescope.app.components.start import worker_of

    run = Run(finished / "parity")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for named in (other.pid, 1, 0, -1, True, "1", None, 10**9):
            assert worker_of(run, named) is None
        other.stdin.close()
    with (run.path / ".lock").open("w"):
        assert worker_of(run, os.getpid()) == os.getpid()


def test_tokens_are_text_and_never_markup(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus holds `<` and `>`; they reach the page as data of a component that sets textContent."""
    from statescope.app.components.token_strip import STRIP

    assert "textContent = token" in STRIP and "innerHTML" not in STRIP
    app = open_app(finished, monkeypatch, "states", run="source")
    assert not any("<1" in markdown.value for markdown in app.markdown)


def test_the_code_on_the_page_runs(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(finished, monkeypatch, "probes", run="source")
    app.selectbox(key="label").select("in_string").run()
    code = next(block.value for block in app.code if ".result('probes')" in block.value)
    names: dict[str, Any] = {}
    exec(code.replace("result.figure", "figure = result.figure").replace(".show()", ""), names)
    assert set(names["figure"].to_frame()["panel"]) == {"in string"}
    assert "label='in_string'" in code


def test_an_interrupted_and_a_failed_run_say_how_to_go_on(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, outcome, error in (("a", "unfinished", None), ("b", "failed", "NonFiniteLossError: at step 3")):
        shutil.copytree(finished / "parity", tmp_path / name)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest | {"outcome": outcome, "error": error}))
    app = open_app(tmp_path, monkeypatch, run="a")
    assert f"statescope run {tmp_path / 'a'}" in app.warning[0].value
    app = open_app(tmp_path, monkeypatch, run="b")
    assert "at step 3" in app.error[0].value


def test_a_run_that_can_only_be_read_is_told_in_the_place_of_the_button(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "parity", tmp_path / "parity")
    record(tmp_path / "parity", outcome="unfinished")
    app = open_app(tmp_path, monkeypatch, run="parity")
    assert [button.label for button in app.button if button.label == "Go on"] and "goes on where it stopped" in app.warning[
        0
    ].value
    (tmp_path / ".parity.log").mkdir()  # in which the command's output would stand
    next(button for button in app.button if button.label == "Go on").click().run()
    assert not app.exception and "It was not started" in app.error[0].value and ".parity.log" in app.error[0].value
    monkeypatch.setattr("statescope.app.components.start.why_read_only", lambda path: f"{path} may be read but not written to")
    app = open_app(tmp_path, monkeypatch, run="parity")
    assert not app.exception and "may be read but not written to" in app.warning[0].value
    assert not [button for button in app.button if button.label == "Go on"]


def test_a_run_that_vanishes_while_it_is_shown_gives_way_to_another(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(finished, folder)
    app = open_app(folder, monkeypatch, run="source")
    shutil.rmtree(folder / "source")
    app.run()
    assert not app.exception and app.header[0].value == "parity"
    assert any("run=source" in warning.value for warning in app.warning)
    shutil.rmtree(folder / "parity")
    app.run()
    assert not app.exception and "No runs yet" in app.header[0].value
