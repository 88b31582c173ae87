"""Results and figures: what is drawn is what was computed, on the screen and on paper."""

from __future__ import annotations

import ast
import dataclasses
import html
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb
from pyarrow import parquet

from statescope.probe.errors import UnknownNameError
from statescope.probe.results.bundle import bundle
from statescope.probe.results.drawn import DrawnFigure
from statescope.probe.results.figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Panel, Points
from statescope.probe.results.palette import SERIES, whole_numbers
from statescope.probe.results.print import draw_for_print, render_for_print, save_for_print
from statescope.probe.results.result import AmbiguousSelectionError, DamagedResultError, Result, UnknownResultError
from statescope.probe.results.screen import draw_on_screen
from statescope.probe.results.script import script_of
from statescope.probe.results.style import STYLES
from statescope.probe.results.text import visible


def _figure() -> Figure:
    x = np.array([1.0, 2.0, 4.0])
    values = np.array([0.2, 0.5, 0.9])
    low, high = values - 0.1, values + 0.05
    return Figure(
        "A figure",
        [
            Panel([Line(x, values, "curve", low, high, markers=True)], "x", "y", "lines", level=(0.5, "chance"), x_log=True),
            Panel(
                [Points(np.cos(x), np.sin(x), "values", color=x, color_label="phase")], "re", "im", equal=True, unit_circle=True
            ),
            Panel([Histogram(np.array([0.0, 1.0, 2.0, 3.0]), np.array([2, 0, 5]), "counts")], "value", "count"),
            Panel([Bars(["a", "b", "c"], values, "bars", low, high)], "", "y"),
            Panel([Intervals(["a", "b", "c"], values, "rows", low, high)], "y", "", level=(0.3, "majority")),
            Panel([Heatmap(np.array([[-1.0, 0.5], [0.2, 3.0]]), ["r", "s"], ["c", "d"], "z", diverging=True)], "", ""),
        ],
        columns=3,
        alt="Six panels.",
    )


def test_the_frame_holds_every_drawn_number() -> None:
    frame = _figure().to_frame()
    assert frame.loc[frame["series"] == "curve", "y"].tolist() == [0.2, 0.5, 0.9]
    assert frame.loc[frame["series"] == "counts", "y"].tolist() == [2, 0, 5]
    assert frame.loc[frame["series"] == "z", "value"].tolist() == [-1.0, 0.5, 0.2, 3.0]
    assert frame.loc[frame["series"] == "rows", "low"].tolist() == pytest.approx([0.1, 0.4, 0.8])


def test_screen_and_paper_draw_the_same_numbers() -> None:
    figure = _figure()
    screen, sheet = draw_on_screen(figure), draw_for_print(figure)
    curve = next(trace for trace in screen.data if trace.name == "curve" and trace.mode == "lines+markers")
    axes = sheet.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.asarray(curve.y))
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.asarray(curve.x))
    assert axes.get_xscale() == "log" and screen.layout.xaxis.type == "log"
    cloud = next(trace for trace in screen.data if trace.name == "values")
    np.testing.assert_allclose(sheet.axes[1].collections[0].get_offsets(), np.stack([cloud.x, cloud.y], 1))
    assert [bar.get_height() for bar in sheet.axes[3].patches] == pytest.approx([0.2, 0.5, 0.9])


def test_the_complex_plane_has_equal_axes_and_a_circle_of_radius_one() -> None:
    screen, sheet = draw_on_screen(_figure()), draw_for_print(_figure())
    assert screen.layout.yaxis2.scaleanchor == "x2"
    circle = next(trace for trace in screen.data if trace.name == "unit circle")
    np.testing.assert_allclose(np.hypot(circle.x, circle.y), 1)
    assert sheet.axes[1].get_aspect() == 1


def test_whole_numbers_have_a_colour_and_a_tick_each() -> None:
    """Labels are no continuum: between 1 and 2 there is nothing."""
    screen, sheet = draw_on_screen(_figure()), draw_for_print(_figure())
    look = next(trace for trace in screen.data if trace.name == "values").marker
    assert list(look.colorbar.tickvals) == [1, 2, 3, 4] and (look.cmin, look.cmax) == (0.5, 4.5)
    assert len({shade for _, shade in look.colorscale}) == 4
    bar = next(axes for axes in sheet.axes if axes.get_ylabel() == "phase")
    assert bar.get_yticks().tolist() == [1, 2, 3, 4]
    assert whole_numbers(np.array([0.5, 1.0])) is None and whole_numbers(np.array([0.0, 1000.0])) is None


def test_a_logarithmic_axis_has_ticks_at_powers_of_ten_or_between_them() -> None:
    short = draw_on_screen(_figure()).layout.xaxis
    assert short.ticktext == ("1", "2", "5", "10", "20", "50") and list(short.tickvals)[:3] == [1, 2, 5]
    x = np.array([1e-3, 1.0, 1e3])
    assert draw_on_screen(Figure("", [Panel([Line(x, x)], "x", "y", x_log=True)])).layout.xaxis.dtick == 1
    assert draw_on_screen(Figure("", [Panel([Line(0 * x, x)], "x", "y", x_log=True)])).layout.xaxis.type == "log"
    wide = Panel([Line(x, x, low=x / 10, high=x * 1e6)], "x", "y", y_log=True)
    assert draw_on_screen(Figure("", [wide])).layout.yaxis.dtick == 3, "its band counts: 13 decades"
    rows = Panel([Intervals(["a", "b"], np.array([1e-16, 1.0]))], "x", "", x_log=True)
    assert draw_on_screen(Figure("", [rows])).layout.xaxis.dtick == 3


def test_the_name_of_a_level_stands_on_its_line() -> None:
    """Where an axis is logarithmic, plotly takes the place of a text as a logarithm, and that of a line as it is."""
    x = np.array([1.0, 1000.0])
    for logarithmic, expected in ((False, 10.0), (True, 1.0)):
        panels = [Panel([Line(x, x)], "x", "y"), Panel([Line(x, x)], "x", "y", y_log=logarithmic, level=(10.0, "chance"))]
        layout = draw_on_screen(Figure("", panels)).layout
        (text,) = [one for one in layout.annotations if one.text == "chance"]
        assert (text.y, text.yref, text.xref) == (expected, "y2", "x2 domain")
        assert layout.shapes[0].y0 == 10.0 and layout.shapes[0].yref == "y2"
    zero = Panel([Line(x, x)], "x", "y", x_log=True, level=(0.0, "none"))
    assert draw_on_screen(Figure("", [zero])).layout.shapes[0].y0 == 0
    assert not draw_on_screen(Figure("", [dataclasses.replace(zero, y_log=True)])).layout.shapes


def test_diverging_colours_are_symmetric_about_zero() -> None:
    screen = draw_on_screen(_figure())
    heat = next(trace for trace in screen.data if trace.type == "heatmap")
    assert (heat.zmin, heat.zmax) == (-3.0, 3.0)


def test_a_default_template_of_another_library_does_not_reach_the_figure() -> None:
    import plotly.io

    before = plotly.io.templates.default
    try:
        plotly.io.templates.default = "plotly_dark"
        light = draw_background()
    finally:
        plotly.io.templates.default = before
    assert light == draw_background()


def draw_background() -> str:
    return draw_on_screen(_figure()).layout.template.layout.plot_bgcolor


def test_paper_is_byte_stable_and_embeds_text(tmp_path: Path) -> None:
    first = save_for_print(_figure(), tmp_path / "first")
    second = save_for_print(_figure(), tmp_path / "second")
    assert [path.suffix for path in first] == [".svg", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = first[0].read_text()
    assert ">chance</text>" in svg
    assert 'width="396pt"' in svg  # 5.5 inches


def test_nothing_on_paper_is_smaller_than_six_points() -> None:
    sheet = draw_for_print(_figure())
    sizes = [
        text.get_fontsize() for text in sheet.findobj(match=lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()
    ]
    assert min(sizes) >= 6


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<b>bold</b>",
    '<a href="http://host/">x</a>',
    "$x^2$",
    "$\\unknown$",
    "a $ b",
    r"\$5",
    "&lt;",
    "%{x}",
    "![x](http://host/y.png)",
    "_hidden",
    "new\nline\ttab\x00nul",
    "\ud800",
    "2020-01-01",
    "1e5",
)


def _hostile_figure(text: str) -> Figure:
    x = np.array([0.0, 1.0])
    names = [text, text]
    return Figure(
        text,
        [
            Panel([Line(x, x, text), Line(x, x, "other")], text, text, text, level=(0.5, text)),
            Panel([Points(x, x, text, color=x, color_label=text, text=names)], text, text),
            Panel([Bars(names, x, text), Bars(names, x, "other")], text, text),
            Panel([Intervals(names, x, text)], text, text, level=(0.5, text)),
            Panel([Heatmap(np.eye(2), names, names, text)], text, text),
        ],
        alt=text,
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_on_the_screen(text: str) -> None:
    """plotly reads tags, entities and formulas in whatever it writes; none of them reaches it as such."""
    drawn = json.loads(draw_on_screen(_hostile_figure(text)).to_json())
    del drawn["layout"]["template"]
    written = [value for key, value in _strings(drawn) if key not in ("legendgroup", "scaleanchor")]
    assert not [value for value in written if re.search(r"<|[$]|&(?!(amp|lt|gt|#36);)|[\x00-\x1f]", value)]
    shown = [html.unescape(value) for value in written]
    assert shown.count(visible(text)) > 20


def _strings(node: object, key: str = "") -> list[tuple[str, str]]:
    if isinstance(node, str):
        return [(key, node)]
    children = node.items() if isinstance(node, dict) else [(key, item) for item in node] if isinstance(node, list) else []
    return [found for name, child in children for found in _strings(child, name)]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_in_print(text: str) -> None:
    svg = render_for_print(_hostile_figure(text), "svg").decode()
    shown = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert [entry.lstrip("\u200b") for entry in shown].count(visible(text)) > 15


def test_text_of_every_sort_fits_into_a_pdf() -> None:
    assert render_for_print(_hostile_figure(" ".join(HOSTILE)), "pdf").startswith(b"%PDF")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_in_a_page_of_html(text: str) -> None:
    page = draw_on_screen(_hostile_figure(text)).to_html(include_plotlyjs=False)
    assert "<img" not in page and "<b>" not in page and "<a " not in page


def test_names_stand_where_they_belong() -> None:
    """Equal names stay apart, names that look like numbers or dates are names, and marks with other names are not mixed up."""
    twice = draw_on_screen(Figure("", [Panel([Bars(["the", "the", "1e5"], np.array([1.0, 2.0, 3.0]))], "", "")]))
    assert list(twice.data[0].x) == [0, 1, 2] and twice.layout.xaxis.ticktext == ("the", "the", "1e5")
    marks = [Intervals(["a", "b"], np.array([1.0, 2.0]), "first"), Intervals(["b", "c"], np.array([3.0, 4.0]), "second")]
    panel = Panel(marks, "", "")
    assert panel.names == ["a", "b", "c"]
    screen, sheet = draw_on_screen(Figure("", [panel])), draw_for_print(Figure("", [panel]))
    assert [list(trace.y) for trace in screen.data] == [[0, 1], [1, 2]]
    assert [container.lines[0].get_ydata().tolist() for container in sheet.axes[0].containers] == [[0, 1], [1, 2]]


def test_series_stay_apart_for_readers_with_a_colour_vision_deficiency() -> None:
    """Machado et al. (2009) matrices for full protanopia and deuteranopia, distances in linear RGB."""
    matrices = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    }
    colours = np.array([to_rgb(colour) for colour in SERIES[:4]])
    for matrix in matrices.values():
        seen = colours @ np.array(matrix).T
        gaps = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(len(seen), 1)]
        assert gaps.min() > 0.12


def test_a_result_without_its_columns_is_refused() -> None:
    from statescope.analyses.behaviour.training_curve import TrainingCurve

    with pytest.raises(ValueError, match="TrainingCurve needs the columns step, loss"):
        TrainingCurve(pd.DataFrame({"model": ["a"]}))


def _curve() -> Result:
    from statescope.analyses.behaviour.training_curve import TrainingCurve

    return TrainingCurve(pd.DataFrame({"model": ["a"], "step": [1], "loss": [0.5]}))


def _write(path: Path, header: object) -> Path:
    """A Parquet file with a header of somebody's choice."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    table = pa.table({"model": ["a"], "step": [1], "loss": [0.5]}).replace_schema_metadata({b"statescope": raw})
    parquet.write_table(table, path)
    return path


def test_a_result_is_read_without_importing_its_class_first(tmp_path: Path) -> None:
    path = _curve().save(tmp_path / "curve.parquet")
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
    assert type(Result.load(path)) is type(_curve())
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


def test_a_result_of_another_kind_is_refused(tmp_path: Path) -> None:
    from statescope.analyses.behaviour.survival import Survival

    with pytest.raises(TypeError, match="holds a TrainingCurve, not a Survival"):
        Survival.load(_curve().save(tmp_path / "curve.parquet"))


def test_the_suffix_says_how_a_result_is_saved(tmp_path: Path) -> None:
    assert _curve().save(tmp_path / "curve.csv").read_text() == "model,step,loss\na,1,0.5\n"
    one, other = (_curve().save(tmp_path / f"curve.v{version}.parquet") for version in (1, 2))
    assert one != other and one.is_file() and other.is_file()
    for name in ("curve", "curve.v1", "curve.txt", "curve.Parquet"):
        with pytest.raises(ValueError, match=r"saved as \.parquet"):
            _curve().save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "curve.v1.parquet", "curve.v2.parquet"]
    with pytest.raises(DamagedResultError, match=r"curve\.csv"):
        Result.load(tmp_path / "curve.csv")


def _scores() -> Result:
    from statescope.probe.statistics.scores import ProbeScores

    rest = {
        "metric": "accuracy",
        "low": 0.4,
        "high": 0.8,
        "majority": 0.5,
        "control": 0.5,
        "control_low": 0.4,
        "control_high": 0.6,
    }
    rest |= {
        "selectivity": 0.1,
        "null": 0.5,
        "p_value": 0.2,
        "penalty": 1.0,
        "validation": 0.6,
        "code_length": 0.9,
        "uniform_length": 1.0,
        "features": 8,
        "samples": 100,
    }
    rows = [
        {"model": model, "hook": f"blocks.{layer}.attn.hook_state", "layer": layer, "site": "state", "position": -1}
        | {"label": label, "classes": 2, "accuracy": 0.5 + layer / 10, "note": ""}
        | rest
        for model in ("one", "two")
        for layer in (0, 1, 2)
        for label in ("depth", "in_string")
    ]
    return ProbeScores.of(rows, {"control": "by context"})


def test_a_selection_is_a_result_of_the_rows_that_fit() -> None:
    scores = _scores()
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
    for ask in (_scores().select, _scores().figure, lambda **given: _scores().value("accuracy", **given)):
        with pytest.raises(UnknownNameError, match=said):
            ask(**where)


def test_a_value_is_one_value_or_an_error() -> None:
    scores = _scores()
    assert scores.value("accuracy", model="two", label="depth", layer=2) == pytest.approx(0.7)
    assert scores.value("accuracy", layer=0) == pytest.approx(0.5), "rows that agree have one value"
    with pytest.raises(AmbiguousSelectionError, match=r"12 rows of ProbeScores are left, with 3 values of accuracy; select by "):
        scores.value("accuracy")
    with pytest.raises(AmbiguousSelectionError, match="layer"):
        scores.value("accuracy", model="one", label="depth")
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        scores.value("acuracy", layer=0)


def test_selectors_name_their_values() -> None:
    scores = _scores()
    assert scores.selectors["label"] == ["depth", "in_string"] and scores.selectors["layer"] == [0, 1, 2]
    assert scores.select(layer=2).selectors["layer"] == [2]
    assert _curve().selectors == {"model": ["a"]}, "without a word of its class: the columns of text"


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png", "html", "csv"])
def test_a_figure_is_saved_by_its_suffix_in_its_style_and_twice_the_same(tmp_path: Path, suffix: str) -> None:
    one, other = (_scores().figure(style="icml").save(tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert one == other
    begin = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG", "html": b"<!doctype html>", "csv": b"series,"}
    assert one.startswith(begin[suffix])
    if suffix == "svg":
        assert b'width="234pt"' in one  # 3.25 inches
    if suffix == "pdf":
        assert b"/Type3" not in one and b"/FontFile2" in one  # TrueType, embedded
    if suffix == "html":
        assert b"<script src" not in one and b"<link" not in one, "something is loaded from elsewhere"
    if suffix == "csv":
        frame = pd.read_csv(tmp_path / "a.csv")
        assert frame["value"].tolist() == _scores().figure().to_frame()["value"].tolist()


def test_an_unknown_format_or_style_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"figure format 'pfd' is not known; did you mean 'pdf'"):
        _scores().figure().save(tmp_path / "probes.pfd")
    with pytest.raises(UnknownNameError, match=r"style 'nips' is not known"):
        _scores().figure(style="nips")
    assert not list(tmp_path.iterdir())


def test_every_style_sets_text_of_at_least_six_points_at_its_width() -> None:
    for name, style in STYLES.items():
        sheet = DrawnFigure(_figure(), name).to_matplotlib()
        assert sheet.get_figwidth() == style.width
        texts = sheet.findobj(match=lambda artist: hasattr(artist, "get_fontsize"))
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 6, name


def test_a_notebook_shows_a_result_shortly_and_a_figure_as_itself() -> None:
    scores = _scores()
    hostile = dataclasses.replace(scores, table=scores.table.assign(model="<img src=x>"))
    shown = hostile._repr_html_()
    assert "<img" not in shown and "&lt;img" in shown and len(shown) < 1500
    assert "12 rows; select by model (1), label (2), layer (3)" in shown
    bundle = scores.figure()._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"] and bundle["image/png"].startswith(b"\x89PNG")


def _unpack(data: bytes, folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return folder


REDRAW = """
import json, runpy, sys
assert "statescope" not in sys.modules
import matplotlib
script = runpy.run_path(sys.argv[1])
with matplotlib.rc_context(script["SETTINGS"]):
    drawn = script["draw"]()
    drawn.savefig(sys.argv[2], metadata={"CreationDate": None, "Title": None})
"""


@pytest.mark.parametrize("style", ["neurips", "icml"])
def test_the_script_of_a_bundle_draws_the_same_figure_with_matplotlib_alone(tmp_path: Path, style: str) -> None:
    """Not a number, a label or a limit differs: the PDF is the same to the byte."""
    drawn = DrawnFigure(_figure(), style)
    folder = _unpack(bundle(_curve(), drawn, {"seed": 3}), tmp_path / "bundle")
    alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", REDRAW, str(folder / "figure.py"), str(tmp_path / "redrawn.pdf")]
    done = subprocess.run(command, capture_output=True, text=True, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    held = io.BytesIO()
    with matplotlib.rc_context(STYLES[style].settings()):
        draw_for_print(_figure(), style).savefig(held, format="pdf", metadata={"CreationDate": None, "Title": None})
    assert (tmp_path / "redrawn.pdf").read_bytes() == held.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_script_is_a_string(text: str) -> None:
    marked = f"{text}') or open('x', 'w').close() or ('"
    tree = ast.parse(script_of(_hostile_figure(marked), "neurips"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert calls <= {
        "rows",
        "draw",
        "range",
        "zip",
        "len",
        "float",
        "Path",
        "Figure",
        "LogLocator",
        "NullFormatter",
        "BoundaryNorm",
    }


def test_a_bundle_has_all_forms_the_numbers_and_where_they_come_from(tmp_path: Path) -> None:
    scores = _scores().select(label="depth")
    provenance = {"run": "mine", "seed": 7, "sha256": "ab" * 32, "selection": {"label": "depth"}}
    data = bundle(scores, scores.figure(), provenance)
    assert data == bundle(scores, scores.figure(), provenance), "the same twice"
    folder = _unpack(data, tmp_path / "bundle")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("caption.txt", "data.csv", "data.parquet"),
        *("figure.html", "figure.pdf", "figure.png", "figure.py", "figure.svg", "provenance.json"),
    ]
    assert json.loads((folder / "provenance.json").read_text()) == provenance
    told = pd.read_csv(folder / "data.csv")
    kept = pd.read_parquet(folder / "data.parquet")
    assert told["value"].tolist() == kept["value"].tolist() == scores.figure().to_frame()["value"].tolist()
    words = (folder / "caption.txt").read_text()
    assert "lower end of its 95% interval" in words and "seed 7" in words and "control by context" in words
