"""The page of training, the page of seeds, and tags."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from opened_app import charts, numbers, open_app, record

from statescope import Run, Training
from statescope.analyses.behaviour.results.training_curve import TrainingCurve
from statescope.analyses.dynamics.over_checkpoints import OfTransitions, over_checkpoints
from statescope.analyses.studies.parity import ParityStudy
from statescope.app.components.tags import FILE, tag, tags_there_are
from statescope.app.pages.page import Page
from statescope.app.pages.seeds import runs_alike
from statescope.app.pages.training import kinds_over_steps, marked, nearest
from statescope.app.server.navigation import every_page, names_shown
from statescope.probe.files import UnwritableError
from statescope.probe.results.over_seeds import over_seeds


@pytest.fixture
def seeds(finished: Path, tmp_path: Path) -> Path:
    """Two runs of one study that differ in the seed and in what they measured, and one of other settings."""
    configuration = dict(Run(finished / "parity").manifest.configuration)
    changes = {"run-0": {"seed": 0}, "run-1": {"seed": 1}, "other": {"width": 32}}
    for name, change in changes.items():
        run = tmp_path / name
        shutil.copytree(finished / "parity", run)
        result = Run(run).result("accuracy_by_length")
        table = result.table.assign(accuracy=result.table["accuracy"] * (0.5 if name == "run-1" else 1.0))
        type(result)(table, result.about).save(run / "results" / "accuracy_by_length.parquet")
        record(run, configuration=configuration | change, seed=change.get("seed", 0))
    return tmp_path


def test_runs_that_differ_in_the_seed_alone_are_shown_as_one(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(seeds, monkeypatch, "seeds", run="run-1", result="accuracy_by_length")
    assert not app.exception and not app.error
    assert any("2 runs with the same settings: seeds 0-1" in caption.value for caption in app.caption)
    assert list(runs_alike(Run(seeds / "run-1"))) == [0, 1], "the run of another width is none of them"
    expected = over_seeds({seed: Run(seeds / f"run-{seed}").result("accuracy_by_length") for seed in range(2)})
    (frame,) = [frame.value for frame in app.dataframe if "low" in frame.value]
    assert frame.equals(expected.figure().to_frame())
    names: dict = {}
    code = next(block.value for block in app.code if "over_seeds" in block.value)
    exec(code.replace("result.figure", "figure = result.figure").replace(".show()", ""), names)
    assert names["figure"].to_frame().equals(frame)


def test_a_run_alone_says_how_to_make_more(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(seeds, monkeypatch, "seeds", run="other")
    assert not app.exception and "--seeds" in app.info[0].value


def test_a_run_of_several_seeds_is_sent_to_its_own_pages(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds what this page would join, and is not told to run again with several seeds."""
    configuration = dict(Run(seeds / "other").manifest.configuration)
    record(seeds / "other", study="seeds", configuration={"kind": "seeds", "study": configuration, "seeds": [0, 1, 2]})
    app = open_app(seeds, monkeypatch, "seeds", run="other")
    assert not app.exception and "holds the seeds 0-2 itself" in app.info[0].value and "--seeds" not in app.info[0].value


def test_the_step_is_marked_in_every_chart_and_its_numbers_are_told(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(seeds, monkeypatch, "training", run="run-1", step="2")
    assert not app.exception and not app.error
    table = Run(seeds / "run-1").result("training").table
    shown = next(frame.value for frame in app.dataframe if list(frame.value.columns) == list(table.columns))
    assert shown.reset_index(drop=True).equals(table[table["step"] == 2].reset_index(drop=True))
    assert any(caption.value == "training at step 2, in bits a token" for caption in app.caption)
    (columns,) = [json.loads(frame.proto.columns) for frame in app.dataframe if list(frame.value.columns) == list(table.columns)]
    assert (columns["loss"]["help"], columns["model"]["help"]) == ("in bits a token", "name of the model")
    sent = [json.loads(part.proto.json) for part in app.get("bidi_component")]
    (chart,) = [json.loads(data["figure"]) for data in sent if "figure" in data]
    assert [shape["x0"] for shape in chart["layout"]["shapes"]] == [2]
    assert {"training_curve", "tangent_motion"} <= set(kinds_over_steps())


def test_all_charts_of_training_reach_over_the_same_steps() -> None:
    table = pd.DataFrame({"model": "a", "step": [1, 5, 9], "loss": [3.0, 2.0, 1.0]})
    chart = marked(TrainingCurve(table).specification(), 5, 100)
    assert tuple(chart.layout.xaxis.range) == (0, 100) and chart.layout.shapes[0].x0 == 5
    np.testing.assert_allclose(numbers(chart.data[-1].x), [1, 5, 9])
    assert nearest(table, 6)["step"].tolist() == [5] and nearest(table, 99)["step"].tolist() == [9]


def test_tags_are_kept_beside_the_runs_and_found_by_the_search(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (seeds / "run-1" / "manifest.json").read_bytes()
    app = open_app(seeds, monkeypatch, "runs", run="run-1")
    app.multiselect(key="tags-run-1").set_value([]).run()
    tag("run-1", ["good", "good", "for the paper", "", "x" * 99], seeds)
    assert tags_there_are(seeds) == {"run-1": ("good", "for the paper")}
    app = open_app(seeds, monkeypatch, "runs", run="run-1", search="paper")
    assert app.dataframe[0].value["run"].tolist() == ["run-1"]
    assert [list(words) for words in app.dataframe[0].value["tags"]] == [["good", "for the paper"]]
    app.multiselect(key="tags-run-1").set_value(["good"]).run()
    assert tags_there_are(seeds) == {"run-1": ("good",)}
    assert (seeds / "run-1" / "manifest.json").read_bytes() == before
    (seeds / FILE).write_text("[1, {")
    app = open_app(seeds, monkeypatch, "runs", run="run-1")
    assert not app.exception and tags_there_are(seeds) == {}
    app.multiselect(key="tags-run-1").set_value(["good"]).run()
    assert "The tags are not kept" in app.error[0].value and "would be lost" in app.error[0].value
    assert (seeds / FILE).read_text() == "[1, {", "a file that was not understood is not written over"
    (seeds / FILE).unlink()


def test_a_folder_that_takes_no_tag_says_so(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page fell where the folder was read-only: what a step of a reader calls may fail as what it draws may."""

    def refuse(path: Path, text: str) -> None:
        raise UnwritableError(errno.EROFS, f"{path} cannot be written: Read-only file system", str(path))

    monkeypatch.setattr("statescope.app.components.tags.write_text", refuse)
    app = open_app(seeds, monkeypatch, "runs", run="run-1")
    app.multiselect(key="tags-run-1").set_value(["good"]).run()
    assert not app.exception
    (error,) = app.error
    assert "The tags are not kept" in error.value and "Read-only file system" in error.value
    assert app.multiselect(key="tags-run-1").value == []
    app.run()
    assert not app.error


@pytest.mark.usefixtures("undrawn")
def test_what_changes_over_checkpoints_is_scrubbed_beside_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Training(steps=6, batch=4, length=8, checkpoint_every=6)
    study = replace(ParityStudy(), training=tiny, width=8, heads=2, test_lengths=(8,), sequences=4, probe_length=8)
    run = replace(study, probe_sequences=16).run(tmp_path / "kept", keep=(0, 3))
    app = open_app(tmp_path, monkeypatch, "training", analysis="what transitions do", checkpoints_of="negative", step="2")
    assert not app.exception and not app.error and not app.info
    expected = over_checkpoints(run, "negative", OfTransitions())
    assert expected.steps == [0, 3, 6]
    sent = [json.loads(part.proto.json) for part in app.get("bidi_component")]
    drawn = [json.loads(data["figure"]) for data in sent if "figure" in data]
    assert len(drawn) == 3, "the loss, the curves over checkpoints, and the checkpoint nearest to the step"
    assert all(chart["layout"]["shapes"][0]["x0"] == 2 for chart in drawn[:2])
    assert any("The checkpoint of step 3" in caption.value for caption in app.caption)
    names: dict = {}
    code = next(block.value for block in app.code if "over_checkpoints" in block.value)
    exec(code.replace(".show()", ""), names)
    assert names["result"].table.equals(expected.table)
    app.selectbox(key="analysis").select("nothing").run()
    assert len([part for part in app.get("bidi_component") if "figure" in json.loads(part.proto.json)]) == 1


def test_a_run_of_several_seeds_is_shown_on_the_pages_of_its_results(
    seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With means and intervals, and not as a kind of its own."""
    run = tmp_path / "together"
    shutil.copytree(seeds / "run-0", run)
    for name in ("accuracy_by_length", "probes", "state_trajectory"):
        joined = over_seeds({seed: Run(seeds / f"run-{seed}").result(name) for seed in range(2)})
        joined.save(run / "results" / f"{name}.parquet")
    plain = json.loads((run / "manifest.json").read_text())
    for name in ("accuracy_by_length", "probes", "state_trajectory"):
        plain["results"][name]["kind"] = "over_seeds"
    record(run, results=plain["results"])
    app = open_app(seeds, monkeypatch, run="together")
    assert not app.exception and not app.error
    (frame, *_) = [frame.value for frame in app.dataframe if "low" in frame.value]
    assert frame.equals(Run(run).result("accuracy_by_length").figure().to_frame())
    for page in ("probes", "states"):
        app = open_app(seeds, monkeypatch, page, run="together")
        assert not app.exception and not app.error and charts(app)
    (rest,) = [page for page in every_page(Page) if page.kind == "results"]
    assert not {"accuracy_by_length", "probes", "state_trajectory"} & {*names_shown(rest, Run(run), every_page(Page))}
