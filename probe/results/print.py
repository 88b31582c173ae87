"""Draw a figure for print: matplotlib, at the size it has on the page, with fonts that venues accept."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure as Drawing
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MultipleLocator, NullFormatter, NullLocator

from ..errors import unknown_name
from ..files import write_bytes
from .figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Mark, Panel, Points, Ranges, Series
from .level_name import freest_corner
from .line_breaks import MARGIN, break_lines
from .palette import DIVERGING, MARKERS, REFERENCE, SEQUENTIAL, turn
from .style import SMALLEST, PrintStyle, style_named
from .text import for_matplotlib, visible

LINE_STYLES = ("-", "--", "-.", ":")
MOST_TICKS = 12
MOST_LAYOUTS = 4  # each line of a label takes a little of the room that the next layout finds
BAR = 20  # the height of a colour bar beside one panel, over its width
LINE = 1.15  # from one line of a title or label to the next, in its size
SIGN = 5.0  # of the size of the legend: the sign before a name, and the room after it
POINTS = 72  # in an inch
RANGE: dict[str, Any] = {"linewidth": 1.6, "marker": "|", "markersize": 4, "solid_capstyle": "butt"}
MOST_VECTOR_POINTS = 5000  # a cloud of more is a bitmap between vector axes
KEPT = ("svg", "png")  # types of the files that a run keeps of a figure
UNDATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def draw_for_print(figure: Figure, style: str | PrintStyle = "neurips") -> Drawing:
    """The figure as a matplotlib figure, as wide as it is on the page. A text that has no room there on one line is broken."""
    look = style_named(style)
    with matplotlib.rc_context(look.settings()):
        return _draw(figure, look, texts_in_lines(figure, look))[0]


def texts_in_lines(figure: Figure, look: PrintStyle) -> list[str]:
    """The title over the figure, then for each panel the label of its x axis, the label of its y axis and its title, with the
    lines that they have in print. They are found in a drawing that is then thrown away: a layout depends on those before it.
    """
    whole = [figure.title, *(text for panel in figure.panels for text in (panel.x_label, panel.y_label, panel.title))]
    whole = texts = [for_matplotlib(text) for text in whole]
    with matplotlib.rc_context(look.settings()):
        drawing, panels = _draw(figure, look, whole)
        for _ in range(MOST_LAYOUTS):
            before, texts = texts, break_lines(drawing, panels, whole)
            if texts == before:
                break
            drawing.set_size_inches(size_of(figure, look, texts))
    return texts


def grid_of(figure: Figure, look: PrintStyle) -> tuple[int, int]:
    """How many rows and columns the panels stand in."""
    columns = min(figure.columns, len(figure.panels), look.columns)
    return math.ceil(len(figure.panels) / columns), columns


def size_of(figure: Figure, look: PrintStyle, texts: Sequence[str]) -> tuple[float, float]:
    """The width and the height of the figure in inches. A second line makes the page higher, and no panel lower."""
    rows, columns = grid_of(figure, look)
    title, *of_panels = (text.count("\n") for text in texts)
    beside = [x + own for x, own in zip(of_panels[::3], of_panels[2::3], strict=True)]
    lines = title + sum(max(beside[row * columns : (row + 1) * columns]) for row in range(rows))
    return look.width, look.panel_height * rows * figure.stretch + 0.5 + lines * LINE * look.title_size / POINTS


def render_for_print(figure: Figure, suffix: str, style: str | PrintStyle = "neurips") -> bytes:
    """The figure as a file of type "svg", "pdf" or "png" (300 dots an inch). The same data gives the same bytes."""
    if suffix not in UNDATED:
        raise unknown_name("figure type", suffix, UNDATED)
    (rendered,) = _render(figure, (suffix,), style_named(style))
    return rendered


def save_for_print(figure: Figure, path: str | Path) -> list[Path]:
    """Write <path>.svg and <path>.png."""
    path = Path(path)
    written = [path.with_name(f"{path.name}.{suffix}") for suffix in KEPT]
    for target, rendered in zip(written, _render(figure, KEPT, style_named("neurips")), strict=True):
        write_bytes(target, rendered)
    return written


def _render(figure: Figure, suffixes: Sequence[str], look: PrintStyle) -> Iterator[bytes]:
    """Files of these types, whose texts are broken into the same lines: to find them takes as long as to draw the figure."""
    texts = texts_in_lines(figure, look)
    for suffix in suffixes:
        held = io.BytesIO()
        with matplotlib.rc_context(look.settings()):
            drawing, _ = _draw(figure, look, texts)
            drawing.savefig(held, format=suffix, dpi=300, metadata={**UNDATED[suffix], "Title": visible(figure.title)})
        yield held.getvalue()


def _draw(figure: Figure, look: PrintStyle, texts: Sequence[str]) -> tuple[Drawing, list[Axes]]:
    """The drawing, and the axes of its panels in their order. texts: in the order of `texts_in_lines`."""
    title, *of_panels = texts
    drawing = Drawing(figsize=size_of(figure, look, texts), layout="constrained")
    drawing.suptitle(title, x=MARGIN, ha="left", linespacing=LINE)
    grid = drawing.subplots(*grid_of(figure, look), squeeze=False)
    places, series = list(grid.flat), figure.series
    for axes, panel, x, y, own in zip(places, figure.panels, of_panels[::3], of_panels[1::3], of_panels[2::3], strict=False):
        _draw_panel(drawing, axes, panel, series)
        axes.set_xlabel(x, linespacing=LINE)
        axes.set_ylabel(y, linespacing=LINE)
        axes.set_title(own, linespacing=LINE)
    for sharing in figure.color_bars(grid.shape[1]):
        first = sharing[0]
        mark = next(mark for mark in figure.panels[first].marks if isinstance(mark, Heatmap))
        beside = [places[place] for place in sharing]
        bar: dict[str, Any] = {"label": for_matplotlib(mark.label), "ticks": _ticks(mark.steps)}
        drawing.colorbar(places[first].images[0], ax=beside, aspect=bar_aspect(sharing, grid.shape[1]), **bar)
    for spare in places[len(figure.panels) :]:
        spare.set_axis_off()
    _draw_legend(drawing, grid)
    return drawing, places[: len(figure.panels)]


def bar_aspect(sharing: Sequence[int], columns: int) -> int:
    """The height of a colour bar over its width, which is the same beside one row of panels and beside several."""
    return BAR * len({place // columns for place in sharing})


def _draw_panel(drawing: Drawing, axes: Axes, panel: Panel, series: dict[str, Series]) -> None:
    bars = [mark for mark in panel.marks if isinstance(mark, Bars)]
    for mark in panel.marks:
        if isinstance(mark, Bars):
            _draw_bars(
                axes, panel, mark, series[mark.label], next(place for place, own in enumerate(bars) if own is mark), len(bars)
            )
        else:
            _draw_mark(drawing, axes, panel, mark, series[mark.label])
    if panel.unit_circle:
        angle = np.linspace(0, 2 * np.pi, 181)
        axes.plot(np.cos(angle), np.sin(angle), color=REFERENCE, linewidth=0.6, zorder=0)
    if panel.level is not None:
        _draw_level(axes, panel, *panel.level)
    if panel.counts:
        axes.xaxis.set_major_locator(MultipleLocator(1))
    if panel.x_log:
        axes.set_xscale("log")
        _set_log_ticks(axes.xaxis, panel.log_ticks("x"))
    if panel.y_log:
        axes.set_yscale("log")
        _set_log_ticks(axes.yaxis, panel.log_ticks("y"))
    if panel.x_range is not None:
        axes.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.bare:
        axes.set_axis_off()
    if panel.equal:
        axes.set_aspect("equal", adjustable="datalim")


def _set_log_ticks(axis: Axis, ticks: dict[float, str] | None) -> None:
    if ticks is None:
        axis.set_major_locator(LogLocator(numticks=5))
    else:
        axis.set_major_locator(FixedLocator(list(ticks)))
        axis.set_major_formatter(FixedFormatter(list(ticks.values())))
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _draw_legend(drawing: Drawing, grid: Any) -> None:
    """One legend for all panels, below them, with each name once."""
    named: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if len(named) > 1:
        columns = legend_columns(drawing.get_figwidth(), list(named))
        drawing.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False)


def legend_columns(width: float, labels: Sequence[str]) -> int:
    """How many names of the legend have room beside each other on a width in inches; at most four."""
    size = FontProperties(size=matplotlib.rcParams["legend.fontsize"])
    longest = max((TextPath((0, 0), label, prop=size).get_extents().width for label in labels), default=0.0) / POINTS
    signs = SIGN * size.get_size_in_points() / POINTS
    return max(1, min(len(labels), 4, int(width / (longest + signs))))


def _draw_mark(drawing: Drawing, axes: Axes, panel: Panel, mark: Mark, own: Series) -> None:
    label = legend_label(mark.label)
    if isinstance(mark, Line):
        style: dict[str, Any] = {"color": own.color, "linestyle": line_style(mark, own)}
        axes.plot(mark.x, mark.y, label=label, marker="o" if mark.markers else None, markersize=2.5, **style)
        if mark.low is not None and mark.high is not None:
            axes.fill_between(mark.x, mark.low, mark.high, color=own.color, alpha=0.18, linewidth=0)
    elif isinstance(mark, Points):
        if mark.joined:
            axes.plot(mark.x, mark.y, color=REFERENCE, linewidth=0.5, zorder=1)
        look: dict[str, Any] = {"color": own.color} if mark.color is None else {"c": mark.color, "cmap": SEQUENTIAL}
        look |= _stepped(mark.steps) | {"marker": MARKERS[turn(own.number) % len(MARKERS)]}
        cloud = axes.scatter(
            mark.x, mark.y, s=5, alpha=0.75, label=label, rasterized=len(mark.x) > MOST_VECTOR_POINTS, zorder=2, **look
        )
        if mark.color is not None:
            drawing.colorbar(cloud, ax=axes, label=for_matplotlib(mark.color_label), ticks=_ticks(mark.steps))
    elif isinstance(mark, Histogram):
        axes.stairs(mark.counts, mark.edges, fill=True, alpha=0.5, color=own.color, label=label)
    elif isinstance(mark, Intervals):
        _draw_intervals(axes, panel, mark, own)
    elif isinstance(mark, Heatmap):
        _draw_heatmap(axes, mark)


def line_style(mark: Line, own: Series) -> str:
    return "--" if mark.dashed else LINE_STYLES[own.number % len(LINE_STYLES)]


def legend_label(label: str) -> str:
    """A name for the legend. matplotlib leaves out a name that begins with an underscore: it gets an invisible first sign."""
    return "\u200b" + for_matplotlib(label) if label.startswith("_") else for_matplotlib(label)


def _draw_bars(axes: Axes, panel: Panel, mark: Bars, own: Series, place: int, count: int) -> None:
    width = 0.8 / count
    at, label = panel.places(mark), legend_label(mark.label)
    shifted = at + (place - (count - 1) / 2) * width
    axes.bar(shifted, mark.values, width=width, yerr=mark.reach, color=own.color, label=label, error_kw={"linewidth": 0.7})
    axes.set_xticks(range(len(panel.names)), [for_matplotlib(name) for name in panel.names], rotation=30, ha="right")


def _draw_intervals(axes: Axes, panel: Panel, mark: Intervals, own: Series) -> None:
    look: dict[str, Any] = {"color": own.color, "label": legend_label(mark.label)}
    if isinstance(mark, Ranges):
        axes.plot(mark.ends, np.repeat(panel.places(mark), 3), **RANGE, **look)
    else:
        filled: dict[str, Any] = {} if own.number % 2 == 0 else {"markerfacecolor": "white"}
        look |= {"fmt": MARKERS[own.number % len(MARKERS)], "markersize": 3, "linewidth": 0.8} | filled
        axes.errorbar(mark.values, panel.places(mark), xerr=mark.reach, **look)
    axes.set_yticks(range(len(panel.names)), [for_matplotlib(name) for name in panel.names])
    axes.set_ylim(*panel.name_range)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)


def _draw_level(axes: Axes, panel: Panel, value: float, name: str) -> None:
    style: dict[str, Any] = {"color": REFERENCE, "linestyle": ":", "linewidth": 0.8}
    text: dict[str, Any] = {"fontsize": SMALLEST, "color": REFERENCE}
    if any(isinstance(mark, Intervals) for mark in panel.marks):
        axes.axvline(value, **style)
        beside: dict[str, Any] = {"xytext": (2, 0), "textcoords": "offset points"}
        axes.annotate(for_matplotlib(name), (value, 1), xycoords=("data", "axes fraction"), ha="left", va="top", **beside, **text)
    else:
        axes.axhline(value, **style)
        corner = freest_corner(panel)
        text |= {"ha": corner.horizontal, "va": corner.vertical, "xytext": (corner.inward, 0), "textcoords": "offset points"}
        axes.annotate(for_matplotlib(name), (corner.x, value), xycoords=("axes fraction", "data"), **text)


def _stepped(steps: tuple[int, int] | None) -> dict[str, Any]:
    """The argument that gives each of a few whole numbers a colour; none where the scale is continuous."""
    return {} if steps is None else {"norm": BoundaryNorm(np.arange(steps[0], steps[1] + 2) - 0.5, 256)}


def _ticks(steps: tuple[int, int] | None) -> range | None:
    return None if steps is None else range(steps[0], steps[1] + 1)


def _draw_heatmap(axes: Axes, mark: Heatmap) -> None:
    look: dict[str, Any] = {"cmap": SEQUENTIAL}
    if mark.diverging:
        look = {"cmap": f"{DIVERGING}_r"}
    if mark.scale is not None:
        look |= dict(zip(("vmin", "vmax"), mark.scale, strict=True))
    axes.imshow(mark.values, aspect="auto", interpolation="nearest", **look, **_stepped(mark.steps))
    for ticks, labels in ((axes.set_xticks, mark.columns), (axes.set_yticks, mark.rows)):
        step = max(1, math.ceil(len(labels) / MOST_TICKS))
        ticks(range(0, len(labels), step), [for_matplotlib(label) for label in labels[::step]])
    axes.tick_params(axis="x", rotation=45)
