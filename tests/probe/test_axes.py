"""The axes of figures: their limits, their ticks, and the levels that cross them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from statescope.probe.results.figure import Bars, Figure, Intervals, Line, Panel
from statescope.probe.results.level_name import freest_corner
from statescope.probe.results.print import draw_for_print
from statescope.probe.results.screen import draw_on_screen
from statescope.probe.results.script import script_of
from statescope.probe.results.ticks import decimal, ticks_between_powers


def test_a_logarithmic_axis_has_ticks_at_powers_of_ten_or_between_them() -> None:
    rising = Line(np.arange(3.0), np.array([1.0, 3.7, 9.0]))
    short = draw_on_screen(Figure("", [Panel([rising], "x", "y", y_log=True)])).layout.yaxis
    assert short.ticktext == ("1", "2", "5", "10", "20", "50") and list(short.tickvals)[:3] == [1, 2, 5]
    x = np.array([1e-3, 1.0, 1e3])
    assert draw_on_screen(Figure("", [Panel([Line(x, x)], "x", "y", y_log=True)])).layout.yaxis.dtick == 1
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


CURVES = {  # over accuracies of 0 to 1, by the corner of a chance of 0.5 that they leave free
    "right bottom": [0.9, 0.9, 0.9, 0.9],
    "right top": [0.55, 0.6, 0.6, 0.57],
    "left bottom": [0.4, 0.45, 0.5, 0.5],
}


@pytest.mark.parametrize("corner", list(CURVES))
def test_the_name_of_a_level_stands_where_no_curve_runs_through_it(corner: str) -> None:
    """It once stood at the right end whatever ended there."""
    curve = np.array(CURVES[corner])
    line = Line(np.arange(4.0), curve, low=curve - 0.01, high=curve + 0.01, markers=True)
    figure = Figure("", [Panel([line], "length", "accuracy", level=(0.5, "chance"), y_range=(0.0, 1.0))])
    (text,) = draw_on_screen(figure).layout.annotations
    (printed,) = draw_for_print(figure).axes[0].texts
    wanted = tuple(corner.split())
    assert (text.xanchor, text.yanchor) == wanted == (printed.get_ha(), printed.get_va())
    assert text.x == printed.xy[0] == (wanted[0] == "right")
    assert "ha={!r}, va={!r}".format(*wanted) in script_of(figure, "neurips")
    bars = Panel([Bars(["a", "b"], np.array([0.2, 0.9]))], "", "y", level=(0.5, "chance"), y_range=(0.0, 1.0))
    assert freest_corner(bars) == ("left", "bottom")


def test_limits_of_a_logarithmic_axis_are_the_same_on_the_screen_and_in_print() -> None:
    x = np.array([1.0, 10.0, 100.0])
    figure = Figure("", [Panel([Line(x, x)], "x", "y", y_log=True, y_range=(0.1, 1000.0))])
    assert draw_on_screen(figure).layout.yaxis.range == (-1, 3)
    assert draw_for_print(figure).axes[0].get_ylim() == (0.1, 1000)


def test_an_axis_shows_no_rounding() -> None:
    """Spectral norms of 1 and 1 + 2e-16 once filled a panel, which had no number beside its axis."""
    x, norms = np.arange(3.0), np.array([1.0, 1 + 2.3e-16, 1 - 1.2e-16])
    level = (1.0, "no growth")
    for panel, axis in (
        (Panel([Line(x, norms)], "", "norm", level=level), "y"),
        (Panel([Line(x, x / x.max(), low=norms, high=norms)], "", "norm"), None),
        (Panel([Intervals(["a", "b", "c"], norms, "", norms, norms)], "radius", "", level=level), "x"),
        (Panel([Bars(["a", "b", "c"], norms)], "", "radius"), "y"),
    ):
        for own in ("x", "y"):
            wanted = pytest.approx((0.9, 1.1)) if own == axis else None
            assert getattr(panel, f"{own}_range") == wanted
    assert Panel([Line(x, 0 * x)], "", "").y_range is None and Panel([Line(x, norms)], "", "", y_range=(0, 2)).y_range == (0, 2)


def test_whole_numbers_along_an_axis_have_no_tick_between_them() -> None:
    """There is nothing between one state and two."""
    y = np.array([0.5, 1.0])
    figure = Figure("", [Panel([Line(np.array([1, 2]), y)], "states", "y"), Panel([Line(np.array([1, 2.5]), y)], "x", "y")])
    screen, sheet = draw_on_screen(figure).layout, draw_for_print(figure)
    sheet.draw_without_rendering()
    assert (screen.xaxis.dtick, screen.xaxis2.dtick) == (1, None)
    steps = [np.diff(axes.get_xticks()) for axes in sheet.axes]
    assert set(steps[0]) == {1.0} and 1.0 not in set(steps[1])
    assert script_of(figure, "neurips").count("MultipleLocator(1)") == 1


def test_a_logarithmic_axis_over_few_decades_has_more_than_one_number_in_print() -> None:
    """Powers of ten alone would leave a half-life between 4 and 50 with one tick."""
    line = Line(np.arange(3.0), np.array([4.0, 11.0, 50.0]))
    sheet = draw_for_print(Figure("", [Panel([line], "x", "y", y_log=True)]))
    sheet.draw_without_rendering()
    low, high = sheet.axes[0].get_ylim()
    shown = [
        text.get_text()
        for place, text in zip(sheet.axes[0].get_yticks(), sheet.axes[0].get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert shown == ["5", "10", "20", "50"]


def test_an_axis_of_chosen_values_names_these_as_whole_numbers_and_powers() -> None:
    """Widths 16, 32 and 64 once stood between ticks at 20 and 50, and a learning rate of 2^-10 at 0.001."""
    widths, rates = np.array([16.0, 32.0, 64.0]), 2.0 ** np.arange(-10, -4)
    panels = [Panel([Line(x, x, markers=True)], "x", "y", x_log=True) for x in (widths, rates, 2.0 ** np.arange(-15, -3))]
    names = [["16", "32", "64"], [f"2⁻{power}" for power in ("¹⁰", "⁹", "⁸", "⁷", "⁶", "⁵")]]
    names.append([f"2⁻{power}" for power in ("¹⁵", "¹³", "¹¹", "⁹", "⁷", "⁵")])
    screen, sheet = draw_on_screen(Figure("", panels)).layout, draw_for_print(Figure("", panels))
    sheet.draw_without_rendering()
    for axes, axis, wanted in zip(sheet.axes, (screen.xaxis, screen.xaxis2, screen.xaxis3), names, strict=False):
        assert list(axis.ticktext) == [text.get_text() for text in axes.get_xticklabels()] == wanted
        assert list(axis.tickvals) == list(axes.get_xticks()) and not len(axes.xaxis.get_minorticklocs())
    assert [f"2⁻{power}" in script_of(Figure("", panels), "neurips") for power in ("¹⁰", "⁵")] == [True, True]


@pytest.mark.parametrize("x", [np.arange(1.0, 90), np.array([0.0123456, 0.1]), np.array([1, 1.02, 40])])
def test_what_was_not_chosen_by_hand_has_ticks_between_powers(x: Any) -> None:
    ticks = Panel([Line(x, x)], "x", "y", x_log=True).log_ticks("x")
    assert ticks is not None and not set(ticks) & {0.0123456, 1.02, 16.0} and {"0.05", "20"} & set(ticks.values())


def test_ticks_say_small_numbers_without_a_row_of_zeros_and_are_never_alone() -> None:
    assert [decimal(value) for value in (64, 0.002, 5e-4, 1e-7, 1.5e6)] == [
        "64",
        "0.002",
        "5\N{MULTIPLICATION SIGN}10⁻⁴",
        "10⁻⁷",
        "1.5\N{MULTIPLICATION SIGN}10⁶",
    ]
    for least, most in ((0.012, 0.031), (4.1, 4.4), (4.0, 50.0)):
        ticks = ticks_between_powers(least, most) or {}
        assert 1 < sum(least <= place <= most for place in ticks) < 10


@pytest.mark.parametrize("log", [False, True])
def test_a_level_that_curves_come_up_to_has_room_above_for_its_name(log: bool) -> None:
    """Below it the name stood on the curves, and above it the panel ended."""
    x = np.arange(50.0)
    y = 1.0 - 0.9 * (x % 7) / 7
    panel = Panel([Line(x, y)], "token", "norm", level=(1.0, "no growth"), y_log=log)
    assert panel.y_range is not None and panel.y_range[0] < y.min() and panel.y_range[1] > 1.1
    assert freest_corner(panel).vertical == "bottom", "the name's lower edge is on the line"
    assert Panel([Line(x, y)], "token", "norm", level=(0.5, "chance"), y_log=log).y_range is None
    assert Panel([Line(x, y)], "token", "norm", level=(1.0, "no growth"), y_range=(0.0, 1.0)).y_range == (0.0, 1.0)
