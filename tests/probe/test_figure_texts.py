"""The texts of figures: text is text, and stands where it has room."""

from __future__ import annotations

import html
import itertools
import json
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from example_results import HOSTILE, example_figure, hostile_figure

from statescope.probe.results.drawn import DrawnFigure
from statescope.probe.results.figure import Bars, Figure, Intervals, Line, Panel
from statescope.probe.results.print import draw_for_print, render_for_print
from statescope.probe.results.screen import draw_on_screen
from statescope.probe.results.style import STYLES
from statescope.probe.results.text import visible


def test_names_of_bars_stand_in_lines_where_all_find_room() -> None:
    """Else plotly slants them, and leaves out those that would lie on others."""
    names = ["negative", "complex", "modulus above 1"]
    bars = Panel([Bars(names, np.arange(3.0), "")], "", "share")
    axis = draw_on_screen(Figure("", [bars, bars, bars], columns=3)).layout.xaxis
    assert axis.ticktext == ("negative", "complex", "modulus<br>above 1") and axis.tickangle == 0
    assert draw_on_screen(Figure("", [bars])).layout.xaxis.ticktext == ("negative", "complex", "modulus above 1")
    many = Panel([Bars([f"a long name {n}" for n in range(30)], np.arange(30.0), "")], "", "share")
    slanted = draw_on_screen(Figure("", [many])).layout.xaxis
    assert slanted.tickangle is None and slanted.ticktext[0] == "a long name 0"


def test_nothing_on_paper_is_smaller_than_six_points() -> None:
    sheet = draw_for_print(example_figure())
    sizes = [
        text.get_fontsize() for text in sheet.findobj(match=lambda artist: hasattr(artist, "get_fontsize")) if text.get_text()
    ]
    assert min(sizes) >= 6


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_on_the_screen(text: str) -> None:
    """plotly reads tags, entities and formulas in whatever it writes; none of them reaches it as such."""
    drawn = json.loads(draw_on_screen(hostile_figure(text)).to_json())
    del drawn["layout"]["template"]
    written = [value for key, value in _strings(drawn) if key not in ("legendgroup", "scaleanchor")]
    lines = [value.replace("<br>", " ") for value in written]  # ours; one of a text would be &lt;br&gt;
    assert not [value for value in lines if re.search(r"<|[$]|&(?!(amp|lt|gt|#36);)|[\x00-\x1f]", value)]
    shown = [html.unescape(value) for value in written]
    assert shown.count(visible(text)) > 20


def _strings(node: object, key: str = "") -> list[tuple[str, str]]:
    if isinstance(node, str):
        return [(key, node)]
    children = node.items() if isinstance(node, dict) else [(key, item) for item in node] if isinstance(node, list) else []
    return [found for name, child in children for found in _strings(child, name)]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_in_print(text: str) -> None:
    svg = render_for_print(hostile_figure(text), "svg").decode()
    shown = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert [entry.lstrip("\u200b") for entry in shown].count(visible(text)) > 15


def test_text_of_every_sort_fits_into_a_pdf() -> None:
    assert render_for_print(hostile_figure(" ".join(HOSTILE)), "pdf").startswith(b"%PDF")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_in_a_page_of_html(text: str) -> None:
    page = draw_on_screen(hostile_figure(text)).to_html(include_plotlyjs=False)
    assert "<img" not in page and "<b>" not in page and "<a " not in page


def test_names_stand_where_they_belong() -> None:
    """Equal names stay apart, names that look like numbers or dates are names, and marks with other names are not mixed up."""
    twice = draw_on_screen(Figure("", [Panel([Bars(["the", "the", "1e5"], np.array([1.0, 2.0, 3.0]))], "", "")]))
    assert list(twice.data[0].x) == [0, 1, 2] and twice.layout.xaxis.ticktext == ("the", "the", "1e5")
    marks = [Intervals(["a", "b"], np.array([1.0, 2.0]), "first"), Intervals(["b", "c"], np.array([3.0, 4.0]), "second")]
    panel = Panel(marks, "", "")
    assert panel.names == ["a", "b", "c"]
    screen, sheet = draw_on_screen(Figure("", [panel])), draw_for_print(Figure("", [panel]))
    assert [np.round(trace.y).tolist() for trace in screen.data] == [[0, 1], [1, 2]]
    assert [container.lines[0].get_ydata().round().tolist() for container in sheet.axes[0].containers] == [[0, 1], [1, 2]]


def test_every_style_sets_text_of_at_least_six_points_at_its_width() -> None:
    for name, style in STYLES.items():
        sheet = DrawnFigure(example_figure(), name).to_matplotlib()
        assert sheet.get_figwidth() == style.width
        texts = sheet.findobj(match=lambda artist: hasattr(artist, "get_fontsize"))
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 6, name


def _long_figure() -> Figure:
    words = "a title of many words that say at length what is measured in this panel, and of which layer"
    marks = [Line(np.arange(3.0), np.arange(3.0), "curve")]
    long = Panel(
        marks, "how many tokens the model has read until then, with those of the prompt", "how often the probe is right", words
    )
    return Figure(f"{words}, {words}", [long, Panel(marks, "x", "y", "short"), long], columns=3)


@pytest.mark.parametrize("style", ["neurips", "icml", "slide"])
def test_long_texts_stand_on_the_page_beside_each_other(style: str) -> None:
    """A title or label that has no room on one line is broken between words: it leaves the page nowhere, and meets no other."""
    figure = _long_figure()
    with matplotlib.rc_context(STYLES[style].settings()):
        sheet = draw_for_print(figure, style)
        sheet.draw_without_rendering()
    texts = [*sheet.texts, *(text for axes in sheet.axes[:3] for text in (axes.xaxis.label, axes.yaxis.label, axes.title))]
    boxes = [text.get_window_extent() for text in texts]
    for box in boxes:
        assert min(box.x0, box.y0) > -0.5 and box.x1 < sheet.bbox.width + 0.5 and box.y1 < sheet.bbox.height + 0.5
    assert not [(one, other) for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    written = [figure.title, *(text for panel in figure.panels for text in (panel.x_label, panel.y_label, panel.title))]
    assert [text.get_text().replace("\n", " ") for text in texts] == written and "\n" in texts[0].get_text()


def test_short_texts_stay_on_one_line() -> None:
    sheet = draw_for_print(example_figure())
    assert not [axes for axes in sheet.axes if "\n" in axes.get_title() + axes.get_xlabel() + axes.get_ylabel()]


@pytest.mark.parametrize("style", ["neurips", "icml"])
def test_a_legend_stands_on_the_page(style: str) -> None:
    """Its names stand in as many columns as have room: on the width of one column of text these are fewer."""
    names = ["Gated DeltaNet: 1 state", "Gated DeltaNet: 1 resid_post", "softmax attention: 1 resid_post"]
    figure = Figure("names", [Panel([Line(np.arange(3.0), np.arange(3.0), name) for name in names], "x", "y")])
    with matplotlib.rc_context(STYLES[style].settings()):
        sheet = draw_for_print(figure, style)
        sheet.draw_without_rendering()
        box = sheet.legends[0].get_window_extent()
    assert box.x0 > -0.5 and box.x1 < sheet.bbox.width + 0.5


def test_a_title_that_its_column_has_no_room_for_stands_in_lines() -> None:
    names = ["ablate in string, blocks 0", "ablate in brackets, blocks 1"]
    numbers = (np.array([0.1, 0.2]), "x", np.array([0.0, 0.1]), np.array([0.2, 0.3]))
    bars, other = Intervals(names, *numbers), Intervals(names[::-1], *numbers)
    long = "Gated DeltaNet, stream: in brackets"
    narrow = draw_on_screen(Figure("f", [Panel([bars], "x", "", long), Panel([other], "x", "", long)], columns=2, alt="a"))
    whole = draw_on_screen(Figure("f", [Panel([bars], "x", "", long)], columns=1, alt="a"))
    assert narrow.layout.annotations[0].text == "Gated DeltaNet, stream: in<br>brackets"
    assert whole.layout.annotations[0].text == long
    higher = narrow.layout.margin.t - whole.layout.margin.t
    assert narrow.layout.height - whole.layout.height == higher > 15, "the figure's own title stands above both lines"
