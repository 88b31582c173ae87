"""Results and figures: what is drawn is what was computed, on the screen and on paper."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from statescope.probe.results import print as paper
from statescope.probe.results import screen as plotly
from statescope.probe.results.figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Panel, Points
from statescope.probe.results.palette import SERIES
from statescope.probe.results.result import DamagedResultError, Result


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
    screen, sheet = plotly.draw(figure), paper.draw(figure)
    curve = next(trace for trace in screen.data if trace.name == "curve" and trace.mode == "lines+markers")
    axes = sheet.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.asarray(curve.y))
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.asarray(curve.x))
    assert axes.get_xscale() == "log" and screen.layout.xaxis.type == "log"
    cloud = next(trace for trace in screen.data if trace.name == "values")
    np.testing.assert_allclose(sheet.axes[1].collections[0].get_offsets(), np.stack([cloud.x, cloud.y], 1))
    assert [bar.get_height() for bar in sheet.axes[3].patches] == pytest.approx([0.2, 0.5, 0.9])


def test_the_complex_plane_has_equal_axes_and_a_circle_of_radius_one() -> None:
    screen, sheet = plotly.draw(_figure()), paper.draw(_figure())
    assert screen.layout.yaxis2.scaleanchor == "x2"
    circle = next(trace for trace in screen.data if trace.name == "unit circle")
    np.testing.assert_allclose(np.hypot(circle.x, circle.y), 1)
    assert sheet.axes[1].get_aspect() == 1


def test_diverging_colours_are_symmetric_about_zero() -> None:
    screen = plotly.draw(_figure())
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
    return plotly.draw(_figure()).layout.template.layout.plot_bgcolor


def test_paper_is_byte_stable_and_embeds_text(tmp_path: Path) -> None:
    first = paper.save(_figure(), tmp_path / "first")
    second = paper.save(_figure(), tmp_path / "second")
    assert [path.suffix for path in first] == [".svg", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = first[0].read_text()
    assert ">chance</text>" in svg
    assert 'width="396pt"' in svg  # 5.5 inches


def test_nothing_on_paper_is_smaller_than_six_points() -> None:
    sheet = paper.draw(_figure())
    sizes = [
        text.get_fontsize() for text in sheet.findobj(match=lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()
    ]
    assert min(sizes) >= 6


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


def test_a_result_is_read_without_importing_its_class_first(tmp_path: Path) -> None:
    from statescope.analyses.behaviour.training_curve import TrainingCurve

    path = TrainingCurve(pd.DataFrame({"model": ["a"], "step": [1], "loss": [0.5]})).save(tmp_path / "curve")
    code = f"from statescope.probe.results.result import Result; print(Result.load({str(path)!r}).summary())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "a: 0.5000 bits a token over the last 20 steps\n", done.stderr


def test_a_file_does_not_choose_what_is_imported(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    header = {"kind": "unheard_of", "module": "antigravity", "about": {}}
    table = pa.table({"x": [1]}).replace_schema_metadata({b"statescope": json.dumps(header).encode()})
    parquet.write_table(table, tmp_path / "foreign.parquet")
    with pytest.raises(DamagedResultError, match="import that module first"):
        Result.load(tmp_path / "foreign.parquet")
    assert "antigravity" not in sys.modules
