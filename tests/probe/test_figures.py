"""Figures: what is drawn is what was computed, on the screen and in print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_results import example_figure, example_scores
from matplotlib.colors import to_hex, to_rgb

from statescope.probe.errors import UnknownNameError
from statescope.probe.results.figure import Bars, Figure, Heatmap, Intervals, Line, Panel, Points, Ranges
from statescope.probe.results.interactive import NAMED, for_notebook, page_of
from statescope.probe.results.intervals import line_of_means, mean_and_reach
from statescope.probe.results.palette import REFERENCE, SERIES, rim, whole_numbers
from statescope.probe.results.print import draw_for_print, save_for_print
from statescope.probe.results.screen import draw_on_screen
from statescope.probe.results.script import script_of


def test_the_frame_holds_every_drawn_number() -> None:
    frame = example_figure().to_frame()
    assert frame.loc[frame["series"] == "curve", "y"].tolist() == [0.2, 0.5, 0.9]
    assert frame.loc[frame["series"] == "counts", "y"].tolist() == [2, 0, 5]
    assert frame.loc[frame["series"] == "z", "value"].tolist() == [-1.0, 0.5, 0.2, 3.0]
    assert frame.loc[frame["series"] == "rows", "low"].tolist() == pytest.approx([0.1, 0.4, 0.8])


def test_screen_and_paper_draw_the_same_numbers() -> None:
    figure = example_figure()
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
    screen, sheet = draw_on_screen(example_figure()), draw_for_print(example_figure())
    assert screen.layout.yaxis2.scaleanchor == "x2"
    circle = next(trace for trace in screen.data if trace.name == "unit circle")
    np.testing.assert_allclose(np.hypot(circle.x, circle.y), 1)
    assert sheet.axes[1].get_aspect() == 1


def test_whole_numbers_have_a_colour_and_a_tick_each() -> None:
    """Labels are no continuum: between 1 and 2 there is nothing."""
    screen, sheet = draw_on_screen(example_figure()), draw_for_print(example_figure())
    look = next(trace for trace in screen.data if trace.name == "values").marker
    assert list(look.colorbar.tickvals) == [1, 2, 3, 4] and (look.cmin, look.cmax) == (0.5, 4.5)
    assert len({shade for _, shade in look.colorscale}) == 4
    bar = next(axes for axes in sheet.axes if axes.get_ylabel() == "phase")
    assert bar.get_yticks().tolist() == [1, 2, 3, 4]
    assert whole_numbers(np.array([0.5, 1.0])) is None and whole_numbers(np.array([0.0, 1000.0])) is None


def test_a_table_of_whole_numbers_has_a_colour_and_a_tick_each_beside_its_own_panel() -> None:
    """And names left of a panel that is not the first stand between the two."""
    table = Heatmap(np.array([[0, 2], [1, 0]]), ["a state with a long name", "b"], ["x", "y"], "state after")
    line = Line(np.arange(3), np.arange(3), "line")
    figure = Figure("", [Panel([line], "", ""), Panel([table], "", "")])
    drawn = draw_on_screen(figure)
    (trace,) = [own for own in drawn.data if own.type == "heatmap"]
    assert (trace.zmin, trace.zmax) == (-0.5, 2.5) and list(trace.colorbar.tickvals) == [0, 1, 2]
    assert trace.colorbar.x == drawn.layout.xaxis2.domain[1]
    short = draw_on_screen(Figure("", [Panel([line], "", ""), Panel([Heatmap(table.values, ["a", "b"], ["x", "y"])], "", "")]))
    gaps = [own.layout.xaxis2.domain[0] - own.layout.xaxis.domain[1] for own in (drawn, short)]
    assert gaps[0] > 0.2 > gaps[1]
    printed = draw_for_print(figure, "neurips").axes[1].images[0]
    assert printed.norm.boundaries.tolist() == [-0.5, 0.5, 1.5, 2.5]
    (smooth,) = draw_on_screen(Figure("", [Panel([Heatmap(np.array([[0.5, 2]]), ["a"], ["x", "y"])], "", "")])).data
    assert smooth.zmin is None


def test_a_graph_has_no_axes_where_places_mean_nothing() -> None:
    panel = Panel([Points(np.zeros(1), np.zeros(1))], "", "", "graph", bare=True)
    drawn = draw_on_screen(Figure("", [panel]))
    assert drawn.layout.xaxis.visible is False and drawn.layout.yaxis.visible is False
    (axes,) = draw_for_print(Figure("", [panel]), "neurips").axes
    assert not axes.axison and axes.get_title() == "graph"
    assert "set_axis_off" in script_of(Figure("", [panel]), "neurips")


def test_diverging_colours_are_symmetric_about_zero() -> None:
    screen = draw_on_screen(example_figure())
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
    return draw_on_screen(example_figure()).layout.template.layout.plot_bgcolor


def test_paper_is_byte_stable_and_embeds_text(tmp_path: Path) -> None:
    first = save_for_print(example_figure(), tmp_path / "first")
    second = save_for_print(example_figure(), tmp_path / "second")
    assert [path.suffix for path in first] == [".svg", ".png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = first[0].read_text()
    assert ">chance</text>" in svg
    assert 'width="396pt"' in svg  # 5.5 inches


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


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png", "html", "csv"])
def test_a_figure_is_saved_by_its_suffix_in_its_style_and_twice_the_same(tmp_path: Path, suffix: str) -> None:
    one, other = (example_scores().figure(style="icml").save(tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
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
        assert frame["value"].tolist() == example_scores().figure().to_frame()["value"].tolist()


def test_an_unknown_format_or_style_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"figure format 'pfd' is not known; did you mean 'pdf'"):
        example_scores().figure().save(tmp_path / "probes.pfd")
    with pytest.raises(UnknownNameError, match=r"style 'nips' is not known"):
        example_scores().figure(style="nips")
    assert not list(tmp_path.iterdir())


def test_a_mean_of_few_draws_has_the_interval_of_students_t() -> None:
    """For 3 draws 4.303 standard errors to each side; two, as for many draws, would hold the true mean 82% of the time."""
    mean, reach = mean_and_reach([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert mean.tolist() == [2.0, 5.0] and reach == pytest.approx([4.30265 / 3**0.5, 0.0], rel=1e-5)
    assert mean_and_reach(np.linspace(-1, 1, 100_001))[1] == pytest.approx(1.96 * 0.57736 / 100_001**0.5, rel=1e-3)
    assert np.isnan(mean_and_reach([1.0])[1])
    rows = pd.DataFrame({"width": [64, 32, 32, 32], "error": [0.5, 1.0, 2.0, 3.0]})
    line = line_of_means(rows, "width", "error", "measured")
    assert line.x.tolist() == [32, 64] and line.y.tolist() == [2.0, 0.5]
    assert line.low.tolist() == [0.4, 0.5], "a fifth of the mean at least, and no width for one draw"
    assert line.high.tolist() == pytest.approx([2 + 4.30265 / 3**0.5, 0.5], rel=1e-5)


def test_rows_that_share_a_place_are_a_line_with_their_range() -> None:
    rows = pd.DataFrame({"position": [1, 0, 0, 0], "norm": [4.0, 1.0, 2.0, 6.0]})
    mean, median = (Line.of_rows(rows, "position", "norm", "x", centre=centre) for centre in ("mean", "median"))
    assert mean.x.tolist() == [0, 1] and mean.y.tolist() == [3.0, 4.0] and median.y.tolist() == [2.0, 4.0]
    assert mean.low.tolist() == [1.0, 4.0] and mean.high.tolist() == [6.0, 4.0]


def test_no_series_is_as_dark_as_the_ground_that_it_is_drawn_on() -> None:
    """The seventh of a figure was black in the dark theme too, and could not be seen."""
    x = np.arange(3.0)
    figure = Figure("", [Panel([Line(x, x + place, f"{place}", low=x, high=x + place) for place in range(len(SERIES))], "", "")])
    for dark in (False, True):
        curves = [trace for trace in draw_on_screen(figure, dark=dark).data if trace.name is not None]
        shades = [np.dot(to_rgb(trace.line.color), (0.21, 0.72, 0.07)) for trace in curves]
        assert len(set(shades)) == len(SERIES) and (min(shades) > 0.2 if dark else max(shades) < 0.8)


def test_a_reference_has_one_colour_wherever_it_is_drawn() -> None:
    """Its line, its band and the intervals of its name are grey; one of several has the colour of what it stands beside."""
    x = np.arange(3.0)
    curve = [Line(x, x, "direction", x, x), Line(x, x, "random", x, x, dashed=True)]
    taken = [Intervals(["a"], np.ones(1), "direction"), Intervals(["a"], np.ones(1), "random")]
    figure = Figure("", [Panel(curve, "x", "y"), Panel(taken, "x", "")])
    sheet = draw_for_print(figure)
    assert to_hex(sheet.axes[0].collections[1].get_facecolor()[0]) == REFERENCE
    assert sheet.axes[1].lines[-1].get_color() == REFERENCE == draw_on_screen(figure).data[-1].marker.color
    two = [line for name in ("a", "b") for line in (Line(x, x, name), Line(x, x, f"of {name}", dashed=True, beside=name))]
    series = Figure("", [Panel(two, "x", "y")]).series
    assert series["of a"].color == series["a"].color != series["b"].color == series["of b"].color


def test_two_intervals_of_one_name_stand_beside_each_other() -> None:
    """One of them would hide the other, and a reader could not see whether they overlap."""
    both = [Intervals(["a", "b"], np.ones(2), label, np.zeros(2), np.full(2, 2.0)) for label in ("one", "other")]
    panel = Panel(both, "x", "")
    first, second = (panel.places(mark) for mark in both)
    assert (second - first > 0.1).all() and abs((first + second) / 2 - np.arange(2)).max() < 1e-12
    drawn = draw_on_screen(Figure("", [panel])).data
    assert [list(trace.y) for trace in drawn] == [first.tolist(), second.tolist()]
    assert Panel(both[:1], "x", "").places(both[0]).tolist() == [0, 1]


def test_points_of_a_scale_are_framed_in_what_is_seen_on_the_ground() -> None:
    """The dark end of the scale is nearly the dark ground itself."""
    x = np.arange(3.0)
    figure = Figure("", [Panel([Points(x, x, color=x + 0.5, color_label="depth"), Points(x, -x, "plain")], "x", "y")])
    (tinted, plain) = draw_on_screen(figure, dark=True).data
    assert tinted.marker.line.color == rim(True) and plain.marker.line.color is None
    assert min(int(rim(True)[at : at + 2], 16) for at in (1, 3, 5)) > 0xA0 > int(REFERENCE[1:3], 16) and rim(False) == REFERENCE
    assert draw_on_screen(figure).data[0].marker.line.color is None


def test_a_colour_bar_stands_beside_its_maps_and_not_beside_another_panel() -> None:
    """At the right end of the figure it looked like the bar of the curve there."""
    maps = [Panel([Heatmap(np.eye(2), ["a", "b"], ["c", "d"], "entry", limits=(0.0, 1.0))], "", "") for _ in range(2)]
    drawn = draw_on_screen(Figure("", [*maps, Panel([Line(np.arange(3.0), np.arange(3.0))], "x", "y")], columns=3))
    (bar,) = [trace.colorbar for trace in drawn.data if trace.type == "heatmap" and trace.showscale is not False]
    assert bar.x == drawn.layout.xaxis2.domain[1] < drawn.layout.xaxis3.domain[0]


def test_series_that_share_a_colour_differ_by_dashes_or_symbols() -> None:
    """An eighth curve had the colour of the first, and nothing told them apart."""
    x = np.arange(3.0)
    curves = Panel([Line(x, x + number, f"curve {number}") for number in range(20)], "x", "y")
    clouds = Panel([Points(x, x + number, f"cloud {number}") for number in range(20)], "x", "y")
    lines, dots = draw_on_screen(Figure("", [curves])).data, draw_on_screen(Figure("", [clouds])).data
    assert (
        len({(trace.line.color, trace.line.dash) for trace in lines})
        == len({(d.marker.color, d.marker.symbol) for d in dots})
        == 20
    )
    (axes,) = draw_for_print(Figure("", [curves])).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 20
    (axes,) = draw_for_print(Figure("", [clouds])).axes
    shapes = [(tuple(own.get_facecolor()[0]), own.get_paths()[0].vertices.tobytes()) for own in axes.collections]
    assert len(set(shapes)) == 20


def test_each_cell_of_a_map_tells_its_names_where_not_all_have_room() -> None:
    names = [f"name {place}" for place in range(50)]
    drawn = draw_on_screen(Figure("", [Panel([Heatmap(np.eye(50), names, names[::-1], "z")], "", "")]))
    assert len(drawn.layout.xaxis.ticktext) < 50
    told = for_notebook(drawn)["application/vnd.plotly.v1+json"]["data"][0]
    assert told["text"][3][2] == "name 3, name 47" and told["hovertemplate"] == NAMED
    assert "name 3, name 47" in page_of(drawn, "chart").decode()
    assert drawn.data[0].text is None, "the figure itself is as it was"


def test_a_range_has_its_ends_and_no_value_between_them() -> None:
    """A mark in its middle reads as a number that somebody measured."""
    low, high = np.array([-1.0, 0.25, 0.5]), np.array([1.0, 0.5, 0.5])
    ranges = Ranges.between(["a", "b", "of one number"], low, high, "allowed")
    panel = Panel([ranges], "eigenvalue", "")
    (trace,) = draw_on_screen(Figure("", [panel])).data
    shown = np.array([[-1.0, 1.0, np.nan], [0.25, 0.5, np.nan], [0.5, 0.5, np.nan]]).ravel()
    np.testing.assert_array_equal(np.asarray(trace.x, float), shown)
    assert list(trace.y) == [0, 0, 0, 1, 1, 1, 2, 2, 2] and trace.error_x.array is None and "lines" in trace.mode
    (axes,) = draw_for_print(Figure("", [panel])).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), shown)
    assert not axes.containers, "no bar of an error"
    frame = panel.marks[0].to_frame()
    assert frame[["name", "low", "high"]].to_numpy().tolist() == [["a", -1, 1], ["b", 0.25, 0.5], ["of one number", 0.5, 0.5]]
    assert "value" not in frame
    unknown = Ranges.between(["a"], np.array([np.nan]), np.array([np.nan]), "allowed")
    assert not Panel([unknown], "", "").marks, "of which no end is known"


@pytest.mark.parametrize("mark", [Bars, Intervals])
def test_a_mean_that_rounds_past_its_interval_is_drawn_and_one_outside_of_it_is_refused(mark: type[Bars | Intervals]) -> None:
    """matplotlib refuses an interval that ends 1e-16 before its value, and plotly draws one that does not reach it."""
    angles = np.full(7, 3.1)
    mean = np.array([angles.mean()])
    assert mean[0] > angles.max()  # the sum is rounded
    for values, low, high in ((mean, angles[:1], angles[:1]), (np.array([0.2]), np.array([0.1]), np.array([0.5]))):
        figure = Figure("", [Panel([mark(["bit 1"], values, "", low, high)], "angle", "")])
        draw_for_print(figure)
        (trace,) = draw_on_screen(figure).data
        error = trace.error_x if mark is Intervals else trace.error_y
        assert np.allclose([error.arrayminus, error.array], [values - low, high - values]) and min(error.arrayminus) >= 0
    wrong = Figure("", [Panel([mark(["bit 1"], np.array([0.6]), "", low, high)], "angle", "")])
    for draw in (draw_for_print, draw_on_screen):
        with pytest.raises(ValueError, match=r"bit 1: the value 0.6 lies outside of its interval, 0.1 to 0.5"):
            draw(wrong)


def test_a_mark_without_a_number_has_no_name_in_the_legend() -> None:
    probe, control = (Intervals(["a"], np.array([value]), name) for value, name in ((0.5, "probe"), (np.nan, "control task")))
    figure = Figure("", [Panel([probe, control], "x", "")])
    assert [trace.name for trace in draw_on_screen(figure).data] == ["probe"] and not draw_for_print(figure).legends


def test_a_million_points_are_thinned_on_the_screen_and_said_to_be() -> None:
    """A peak of a curve is kept, the cloud keeps both its ends, and what is exported has every point."""
    x = np.arange(1_000_000.0)
    curve, cloud = np.where(x == 123_456, 9.0, np.sin(x / 1e5)), np.cos(x / 1e5)
    figure = Figure(
        "large", [Panel([Line(x, curve, "curve")], "x", "y", "a"), Panel([Points(x, cloud, "cloud", x)], "x", "y", "b")]
    )
    drawn = draw_on_screen(figure)
    line, points = drawn.data
    assert len(line.x) == len(points.x) == 20_000 and max(line.y) == 9.0
    assert points.x[0] == 0 and points.x[-1] == 999_999 and np.array_equal(points.marker.color, points.x)
    assert [note.text for note in drawn.layout.annotations[:2]] == [f"{name} (20,000 of 1,000,000 points drawn)" for name in "ab"]
    assert len(figure.to_frame()) == 2_000_000
    gap = np.where(x < 100, np.nan, 5.0)
    gap[600_010], gap[700_001] = np.nan, 3.0  # one that is not known, which is no least value; and a dip
    gap[700_000] = np.nan
    [line] = draw_on_screen(Figure("gap", [Panel([Line(x, gap, "curve")], "x", "y")])).data
    assert np.nanmin(line.y) == 3.0 and list(np.flatnonzero(np.isnan(line.y))) == [0, 1]
    small = Figure("small", [Panel([Line(x[:9], curve[:9], "curve")], "x", "y", "a")])
    assert draw_on_screen(small).layout.annotations[0].text == "a"
