"""The form that starts a study."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opened_app import open_app
from streamlit.testing.v1 import AppTest

from statescope import Run
from statescope.app.components.study_form import fields_of, prepare, study_of
from statescope.probe.configuration import BadSettingError
from statescope.probe.errors import StatescopeError
from statescope.probe.runs.study import list_studies, study_named

STUDIES = [entry.name for entry in list_studies()]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_form_whose_texts_are_its_settings(name: str) -> None:
    texts = {field.path: field.value for field in fields_of(name)}
    study = study_named(name)
    try:
        study.check()
    except BadSettingError as error:  # of a study that needs files of the user's own: the form says what is missing
        with pytest.raises(BadSettingError) as told:
            study_of(name, 0, texts)
        assert str(told.value) == str(error) and "is missing" in str(error)
        return
    assert study_of(name, 0, texts) == study
    assert not {path for path in texts if path.rpartition(".")[2] in ("folder", "file", "seed")}
    if "training.steps" in texts:
        assert study_of(name, 5, texts | {"training.steps": "3"}).training.steps == 3


def test_lists_names_and_kinds_are_read_as_one_would_write_them() -> None:
    study: Any = study_of("comparison", 2, {"mixers": "delta_net, ret_net", "names": "a, b", "test_lengths": "[12, 24]"})
    assert [mixer.kind for mixer in study.mixers] == ["delta_net", "ret_net"] and study.names == ("a", "b")
    assert study.test_lengths == (12, 24) and study.seed == 2
    task: Any = study_of("comparison", 0, {"task": '{"kind": "word_problem", "group": "Z5"}'})
    assert task.task.group == "Z5"


@pytest.mark.parametrize(
    ("name", "path", "text", "told"),
    [
        ("parity", "training.steps", "0", "training.steps must be at least 1"),
        ("parity", "width", "wide", "width needs int"),
        ("parity", "heads", "7", "cannot be built"),
        ("parity", "test_lengths", "", "must not be empty"),
        ("parity", "training.learning_rate", "1e999", "finite"),
        ("parity", "width", "[" * 1500, "width needs int"),
        ("parity", "width", "9" * 5000, "letters"),
        ("comparison", "task", '{"kind": "text", "folder": "/etc"}', "command line alone"),
        ("comparison", "mixers", "detla_net", "delta_net"),
    ],
)
def test_what_does_not_fit_is_told_by_its_path(name: str, path: str, text: str, told: str) -> None:
    with pytest.raises(StatescopeError, match=told):
        study_of(name, 0, {path: text})


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", ".hidden", "a/b"])
def test_no_run_leaves_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    try:
        study = study_of("comparison", 0, {"name": name})
    except StatescopeError:
        return
    with pytest.raises(StatescopeError, match="cannot be called"):
        prepare(study, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_link_or_a_folder_in_the_place_of_a_run_is_left_alone(tmp_path: Path) -> None:
    study = study_of("parity-small", 0, {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / study.run_name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StatescopeError, match="is no run"):
        prepare(study, tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def submitted(app: AppTest) -> AppTest:
    return next(button for button in app.button if button.label == "Check and start").click().run()


def test_the_form_starts_what_it_says_and_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sequence[str]] = []

    def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        started.append(arguments)
        return subprocess.Popen(["true"])

    monkeypatch.setattr("statescope.app.components.start.start", start)
    app = open_app(tmp_path, monkeypatch, "new_run", new="parity-small")
    assert not app.exception
    app.text_input(key="set-parity-small-training.steps").set_value("none")
    submitted(app)
    assert "training.steps needs int" in app.error[0].value and not started
    app.text_input(key="set-parity-small-training.steps").set_value("9")
    app.text_input(key="set-parity-small-seeds").set_value("0..2")
    submitted(app)
    assert not app.error and not app.exception
    ((command, out, *rest),) = started
    assert command == "run" and rest[-2:] == ["--workers", "1"] and Path(out).parent == tmp_path
    configuration = json.loads((Path(out) / "manifest.json").read_text())["configuration"]
    assert configuration["study"]["training"]["steps"] == 9 and configuration["seeds"] == [0, 1, 2]
    assert Run(out).status == "interrupted" and any("interrupted" in warning.value for warning in app.warning)
    app.text_input(key="set-parity-small-keep").set_value("100, 0, 10")
    submitted(app)
    assert started[-1][-2:] == ["--keep", "0,10,100"]
    app.text_input(key="set-parity-small-keep").set_value("often")
    submitted(app)
    assert "steps to keep are a list" in app.error[0].value and len(started) == 2
    app.text_input(key="set-parity-small-seeds").set_value("0..x")
    submitted(app)
    assert "seeds are a range" in app.error[0].value


def test_a_start_that_fails_says_why_and_goes_on_waiting_for_no_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page waits as long as the process lives, and no longer."""
    study = study_of("parity-small", 0, {})
    out = prepare(study, tmp_path)

    def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        (tmp_path / log).write_text("one line\nstatescope: the disk is full\n")
        return subprocess.Popen(["sh", "-c", "sleep 0.5; exit 1"])

    monkeypatch.setattr("statescope.app.components.start.start", start)
    app = open_app(tmp_path, monkeypatch, run=out.name)
    next(button for button in app.button if button.label == "Go on").click().run()
    assert [error.value for error in app.error] == ["It was not started: `statescope: the disk is full`"]
    assert not app.exception and Run(out).status == "interrupted"
