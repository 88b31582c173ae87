"""Results: read and written as what they are, selected by column, shown in a notebook."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from example_results import example_curve, example_scores
from pyarrow import parquet

from statescope.probe.errors import StatescopeError, UnknownNameError
from statescope.probe.results.about import OtherVersionError
from statescope.probe.results.palette import ink_on
from statescope.probe.results.result import AmbiguousSelectionError, DamagedResultError, Result, UnknownResultError


def test_a_result_without_its_columns_is_refused() -> None:
    from statescope.analyses.behaviour.results.training_curve import TrainingCurve

    with pytest.raises(ValueError, match="TrainingCurve needs the columns step, loss"):
        TrainingCurve(pd.DataFrame({"model": ["a"]}))


def _allowed() -> Result:
    from statescope import DeltaNet, Model, ModelConfig
    from statescope.analyses.automata.allowed_and_realised import allowed_and_realised

    model = Model(ModelConfig(vocabulary=3, width=4, layers=1, mixer=DeltaNet(heads=1)))
    return allowed_and_realised(model, torch.tensor([[0, 1]]))


def _at(about: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    return about if not path else _at(about[path[0]], path[1:])


@pytest.mark.parametrize("path", [("allowed",), ("groups",), ("statements",), ("statements", "model")], ids="-".join)
def test_what_another_version_did_not_store_is_named_with_what_to_do(tmp_path: Path, path: tuple[str, ...]) -> None:
    """Such as what a family allows, before it was said by which statement; on the outside and deeper."""
    result = _allowed()
    about = json.loads(json.dumps(result.about))
    del _at(about, path[:-1])[path[-1]]
    file = type(result)(result.table, about).save(tmp_path / "allowed.parquet")
    stored = Result.load(file)
    for asked in (stored.summary, stored.specification, stored.select(head=0).summary):
        with pytest.raises(OtherVersionError, match=f"allowed.parquet does not say '{path[-1]}' .* delete that file and run"):
            asked()
    with pytest.raises(StatescopeError, match="measure it with this version"):
        type(result)(result.table, about).summary()


def test_about_is_a_plain_mapping_but_for_what_it_lacks(tmp_path: Path) -> None:
    about = {"one": 1, "by model": {"a": [1, 2]}}
    result = type(example_curve())(example_curve().table, about)
    assert result.about == about and json.dumps(result.about) == json.dumps(about)
    assert result.about.get("two") is None and "two" not in result.about and {**result.about} == about
    copied = copy.deepcopy(Result.load(result.save(tmp_path / "curve.parquet")))
    assert copied.about == about and dataclasses.asdict(copied)["about"] == about
    with pytest.raises(OtherVersionError, match="curve.parquet does not say 'b'"):
        copied.about["by model"]["b"]


def _write(path: Path, header: object) -> Path:
    """A Parquet file with a header of somebody's choice."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    table = pa.table({"model": ["a"], "step": [1], "loss": [0.5]}).replace_schema_metadata({b"statescope": raw})
    parquet.write_table(table, path)
    return path


def test_a_result_is_read_without_importing_its_class_first(tmp_path: Path) -> None:
    path = example_curve().save(tmp_path / "curve.parquet")
    code = f"from statescope.probe.results.result import Result; print(Result.load({str(path)!r}).summary())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "a: 0.5000 bits a token over the last 20 steps\n", done.stderr


@pytest.mark.parametrize("module", ["antigravity", "payload", "statescope.runs.x.results.payload", "statescope.analyses.payload"])
@pytest.mark.parametrize("kind", ["unheard_of", "payload", "statescope.analyses.payload", "../payload"])
def test_a_file_never_chooses_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, kind: str) -> None:
    """A payload stands where the module's name leads: in a folder of the package, or beside the result."""
    import statescope.analyses

    monkeypatch.setattr(statescope.analyses, "__path__", [*statescope.analyses.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "payload.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    path = _write(tmp_path / "r.parquet", {"schema_version": 1, "kind": kind, "module": module, "about": {}})
    with pytest.raises(UnknownResultError, match="install the plug-in it belongs to, or import its file") as error:
        Result.load(path)
    assert module in str(error.value) and "r.parquet" in str(error.value)
    assert not (tmp_path / "ran").exists() and "antigravity" not in sys.modules


def test_the_kind_alone_decides_whatever_module_the_file_names(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.parquet", {"schema_version": 1, "kind": "training_curve", "module": "antigravity", "about": {}})
    assert type(Result.load(path)) is type(example_curve())
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        [],
        None,
        {},
        {"schema_version": 2, "kind": "training_curve"},
        {"schema_version": 1},
        {"schema_version": 1, "kind": ["training_curve"]},
        {"schema_version": 1, "kind": "training_curve", "about": [1]},
        {"schema_version": 1, "kind": "training_curve", "module": 3},
        {"schema_version": 1, "kind": "probe_scores"},
    ],
)
def test_an_odd_header_is_a_damaged_file_that_is_named(tmp_path: Path, header: object) -> None:
    path = _write(tmp_path / "odd.parquet", header)
    with pytest.raises(DamagedResultError, match=r"odd\.parquet cannot be read as a result"):
        Result.load(path)


def test_a_result_of_a_newer_version_says_to_update(tmp_path: Path) -> None:
    path = _write(tmp_path / "new.parquet", {"schema_version": 2, "kind": "training_curve"})
    with pytest.raises(
        DamagedResultError, match="version 2 is of a newer statescope, and this one reads 1: update statescope"
    ) as told:
        Result.load(path)
    assert str(told.value).count("cannot be read") == 1


def test_a_small_file_that_stands_for_more_rows_than_a_memory_holds_is_refused(tmp_path: Path) -> None:
    rows = 2**20  # a row group is the same few bytes again
    group = pa.table({"step": pa.array(np.zeros(rows, dtype=np.int64))}).replace_schema_metadata({b"statescope": b"{}"})
    path = tmp_path / "bomb.parquet"
    with parquet.ParquetWriter(path, group.schema) as file:
        for _ in range(2**8 + 1):
            file.write_table(group)
    assert path.stat().st_size < 2**21
    with pytest.raises(DamagedResultError, match=r"bomb\.parquet .* 269,484,032 rows of 1 columns; no result of more"):
        Result.load(path)


@pytest.mark.parametrize("read", [Result.load, Result.kind_in])
def test_a_pipe_does_not_hang_and_a_link_is_not_followed(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "link.parquet").symlink_to(example_curve().save(tmp_path / "curve.parquet"))
    for name in ("pipe", "link"):
        with pytest.raises(DamagedResultError, match=f"{name}.parquet cannot be read as a result"):
            read(tmp_path / f"{name}.parquet")


def test_a_result_of_another_kind_is_refused(tmp_path: Path) -> None:
    from statescope.analyses.behaviour.survival import Survival

    with pytest.raises(TypeError, match="holds a TrainingCurve, not a Survival"):
        Survival.load(example_curve().save(tmp_path / "curve.parquet"))


def test_the_suffix_says_how_a_result_is_saved(tmp_path: Path) -> None:
    assert example_curve().save(tmp_path / "curve.csv").read_text() == "model,step,loss\na,1,0.5\n"
    one, other = (example_curve().save(tmp_path / f"curve.v{version}.parquet") for version in (1, 2))
    assert one != other and one.is_file() and other.is_file()
    for name in ("curve", "curve.v1", "curve.txt", "curve.Parquet"):
        with pytest.raises(ValueError, match=r"saved as \.parquet"):
            example_curve().save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "curve.v1.parquet", "curve.v2.parquet"]
    with pytest.raises(DamagedResultError, match=r"curve\.csv"):
        Result.load(tmp_path / "curve.csv")


def test_a_selection_is_a_result_of_the_rows_that_fit() -> None:
    scores = example_scores()
    part = scores.select(label="depth", layer=1, model=None)
    assert type(part) is type(scores) and part.about == scores.about
    assert len(part.table) == 2 and set(part.table["model"]) == {"one", "two"} and set(part.table["layer"]) == {1}
    assert part.select(model="one").value("accuracy") == pytest.approx(0.6)
    assert isinstance(part.select(model="one").value("layer"), int)
    drawn = scores.figure(label="depth").to_frame()
    assert set(drawn["panel"]) == {"depth"} and len(drawn) == 12


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"label": "dpth"}, r"label of ProbeScores 'dpth' is not known; did you mean 'depth'\? \(known: depth, in_string\)"),
        ({"layer": 9}, r"layer of ProbeScores '9' is not known \(known: 0, 1, 2\)"),
        ({"layer": "1"}, r"layer of ProbeScores '1' is not known"),
        ({"lable": "depth"}, r"column of ProbeScores 'lable' is not known; did you mean 'label'\?"),
    ],
)
def test_a_selection_that_nothing_fits_is_an_error_with_the_nearest_name(where: dict[str, object], said: str) -> None:
    for ask in (example_scores().select, example_scores().figure, lambda **given: example_scores().value("accuracy", **given)):
        with pytest.raises(UnknownNameError, match=said):
            ask(**where)


def test_a_value_is_one_value_or_an_error() -> None:
    scores = example_scores()
    assert scores.value("accuracy", model="two", label="depth", layer=2) == pytest.approx(0.7)
    assert scores.value("accuracy", layer=0) == pytest.approx(0.5), "rows that agree have one value"
    with pytest.raises(AmbiguousSelectionError, match=r"12 rows of ProbeScores are left, with 3 values of accuracy; select by "):
        scores.value("accuracy")
    with pytest.raises(AmbiguousSelectionError, match="layer"):
        scores.value("accuracy", model="one", label="depth")
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        scores.value("acuracy", layer=0)


def test_selectors_name_their_values() -> None:
    scores = example_scores()
    assert scores.selectors["label"] == ["depth", "in_string"] and scores.selectors["layer"] == [0, 1, 2]
    assert scores.select(layer=2).selectors["layer"] == [2]
    assert example_curve().selectors == {"model": ["a"]}, "without a word of its class: the columns of text"


def test_a_notebook_shows_a_result_shortly_and_a_figure_as_itself() -> None:
    scores = example_scores()
    hostile = dataclasses.replace(scores, table=scores.table.assign(model="<img src=x>"))
    shown = hostile._repr_html_()
    assert "<img" not in shown and "&lt;img" in shown and len(shown) < 1500
    assert "12 rows; select by model (1), label (2), layer (3)" in shown
    bundle = scores.figure()._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"] and bundle["image/png"].startswith(b"\x89PNG")


def test_no_figure_offers_to_be_sent_to_a_service() -> None:
    """Of plotly.js that is the default."""
    figure = example_scores().figure()
    assert figure._repr_mimebundle_()["application/vnd.plotly.v1+json"]["config"]["showSendToCloud"] is False
    options = figure.render("html").decode().rpartition("Plotly.newPlot(")[2]
    assert '"showSendToCloud": false' in options


def test_ink_is_read_on_any_colour() -> None:
    """At least 4.5 to 1, by colours whose contrast is known."""
    assert ink_on(255, 255, 255) == ink_on(0, 255, 0) == ink_on(240, 228, 66) == "#000000"
    assert ink_on(0, 0, 0) == ink_on(0, 0, 255) == ink_on(200, 0, 0) == "#ffffff"
    assert (ink_on(117, 117, 117), ink_on(120, 120, 120)) == ("#ffffff", "#000000"), "#757575 has 4.6 on white"
