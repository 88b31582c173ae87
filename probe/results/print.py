"""Draw a figure for print: matplotlib, at the size it has on the page, with fonts that venues accept."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator, NullFormatter

from ..errors import unknown_name
from ..files import write_bytes
from .figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Mark, Panel, Points
from .palette import DIVERGING, MARKERS, REFERENCE, SEQUENTIAL, color, whole_numbers
from .style import SMALLEST, PrintStyle, style_named
from .text import for_matplotlib, visible

LINE_STYLES = ("-", "--", "-.", ":")
MOST_TICKS = 12
MOST_VECTOR_POINTS = 5000  # a cloud of more is a bitmap between vector axes
UNDATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def draw_for_print(figure: Figure, style: str | PrintStyle = "neurips") -> Drawing:
    """The figure as a matplotlib figure, at the size it has on the page."""
    look = style_named(style)
    columns = min(figure.columns, len(figure.panels), look.columns)
    rows = math.ceil(len(figure.panels) / columns)
    with matplotlib.rc_context(look.settings()):
        height = look.panel_height * rows * figure.stretch + 0.5
        drawing = Drawing(figsize=(look.width, height), layout="constrained")
        drawing.suptitle(for_matplotlib(figure.title), x=0.01, ha="left")
        grid = drawing.subplots(rows, columns, squeeze=False)
        named: dict[str, int] = {}
        for index, panel in enumerate(figure.panels):
            _draw_panel(drawing, grid[index // columns][index % columns], panel, named)
        for spare in range(len(figure.panels), rows * columns):
            grid[spare // columns][spare % columns].set_axis_off()
        _draw_legend(drawing, grid)
    return drawing


def render_for_print(figure: Figure, suffix: str, style: str | PrintStyle = "neurips") -> bytes:
    """The figure as a file of type "svg", "pdf" or "png" (300 dots an inch). The same data gives the same bytes."""
    if suffix not in UNDATED:
        raise unknown_name("figure type", suffix, UNDATED)
    held = io.BytesIO()
    with matplotlib.rc_context(style_named(style).settings()):
        drawing = draw_for_print(figure, style)
        drawing.savefig(held, format=suffix, dpi=300, metadata={**UNDATED[suffix], "Title": visible(figure.title)})
    return held.getvalue()


def save_for_print(figure: Figure, path: str | Path) -> list[Path]:
    """Write <path>.svg and <path>.png."""
    path = Path(path)
    written = [path.with_name(f"{path.name}.{suffix}") for suffix in ("svg", "png")]
    for target in written:
        write_bytes(target, render_for_print(figure, target.suffix[1:]))
    return written


def _draw_panel(drawing: Drawing, axes: Axes, panel: Panel, named: dict[str, int]) -> None:
    bars = [mark for mark in panel.marks if isinstance(mark, Bars)]
    for mark in panel.marks:
        index = named.setdefault(mark.label, len(named))
        if isinstance(mark, Bars):
            _draw_bars(axes, panel, mark, index, next(place for place, own in enumerate(bars) if own is mark), len(bars))
        else:
            _draw_mark(drawing, axes, panel, mark, index)
    if panel.unit_circle:
        angle = np.linspace(0, 2 * np.pi, 181)
        axes.plot(np.cos(angle), np.sin(angle), color=REFERENCE, linewidth=0.6, zorder=0)
    if panel.level is not None:
        height, name = panel.level
        _draw_level(axes, height, name, across=any(isinstance(mark, Intervals) for mark in panel.marks))
    axes.set(xlabel=for_matplotlib(panel.x_label), ylabel=for_matplotlib(panel.y_label), title=for_matplotlib(panel.title))
    for log, scale, axis in ((panel.x_log, axes.set_xscale, axes.xaxis), (panel.y_log, axes.set_yscale, axes.yaxis)):
        if log:
            scale("log")
            axis.set_major_locator(LogLocator(numticks=5))
            axis.set_minor_formatter(NullFormatter())
    if panel.x_range is not None:
        axes.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.bare:
        axes.set_axis_off()
    if panel.equal:
        axes.set_aspect("equal", adjustable="datalim")


def _draw_legend(drawing: Drawing, grid: Any) -> None:
    """One legend for all panels, below them, with each name once."""
    named: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if len(named) > 1:
        columns = min(len(named), 4 if max(map(len, named)) < 24 else 3)
        drawing.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False)


def _draw_mark(drawing: Drawing, axes: Axes, panel: Panel, mark: Mark, index: int) -> None:
    tint, label = color(index), legend_label(mark.label)
    if isinstance(mark, Line):
        style: dict[str, Any] = (
            {"color": REFERENCE, "linestyle": "--"} if mark.dashed else {"color": tint, "linestyle": LINE_STYLES[index % 4]}
        )
        axes.plot(mark.x, mark.y, label=label, marker="o" if mark.markers else None, markersize=2.5, **style)
        if mark.low is not None and mark.high is not None:
            axes.fill_between(mark.x, mark.low, mark.high, color=tint, alpha=0.18, linewidth=0)
    elif isinstance(mark, Points):
        if mark.joined:
            axes.plot(mark.x, mark.y, color=REFERENCE, linewidth=0.5, zorder=1)
        found = None if mark.color is None else whole_numbers(mark.color)
        look: dict[str, Any] = {"color": tint} if mark.color is None else {"c": mark.color, "cmap": SEQUENTIAL}
        if found is not None:  # a colour for each number
            look["norm"] = BoundaryNorm(np.arange(found[0], found[1] + 2) - 0.5, 256)
        cloud = axes.scatter(
            mark.x, mark.y, s=5, alpha=0.75, label=label, rasterized=len(mark.x) > MOST_VECTOR_POINTS, zorder=2, **look
        )
        if mark.color is not None:
            ticks = None if found is None else range(found[0], found[1] + 1)
            drawing.colorbar(cloud, ax=axes, label=for_matplotlib(mark.color_label), ticks=ticks)
    elif isinstance(mark, Histogram):
        axes.stairs(mark.counts, mark.edges, fill=True, alpha=0.5, color=tint, label=label)
    elif isinstance(mark, Intervals):
        _draw_intervals(axes, panel, mark, index)
    elif isinstance(mark, Heatmap):
        _draw_heatmap(drawing, axes, mark)


def legend_label(label: str) -> str:
    """A name for the legend. matplotlib leaves out a name that begins with an underscore: it gets an invisible first sign."""
    return "\u200b" + for_matplotlib(label) if label.startswith("_") else for_matplotlib(label)


def _draw_bars(axes: Axes, panel: Panel, mark: Bars, index: int, place: int, count: int) -> None:
    width = 0.8 / count
    at, label = panel.places(mark), legend_label(mark.label)
    error = None
    if mark.low is not None and mark.high is not None:
        error = np.vstack([mark.values - mark.low, mark.high - mark.values])
    shifted = at + (place - (count - 1) / 2) * width
    axes.bar(shifted, mark.values, width=width, yerr=error, color=color(index), label=label, error_kw={"linewidth": 0.7})
    axes.set_xticks(range(len(panel.names)), [for_matplotlib(name) for name in panel.names], rotation=30, ha="right")


def _draw_intervals(axes: Axes, panel: Panel, mark: Intervals, index: int) -> None:
    error = None
    if mark.low is not None and mark.high is not None:
        error = np.vstack([mark.values - mark.low, mark.high - mark.values])
    look: dict[str, Any] = {"fmt": MARKERS[index % len(MARKERS)], "markersize": 3, "linewidth": 0.8, "color": color(index)}
    filled: dict[str, Any] = {} if index % 2 == 0 else {"markerfacecolor": "white"}
    axes.errorbar(mark.values, panel.places(mark), xerr=error, label=legend_label(mark.label), **look, **filled)
    axes.set_yticks(range(len(panel.names)), [for_matplotlib(name) for name in panel.names])
    axes.set_ylim(len(panel.names) - 0.5, -0.5)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)


def _draw_level(axes: Axes, value: float, name: str, *, across: bool) -> None:
    style: dict[str, Any] = {"color": REFERENCE, "linestyle": ":", "linewidth": 0.8}
    text: dict[str, Any] = {"fontsize": SMALLEST, "color": REFERENCE, "va": "bottom"}
    if across:
        axes.axvline(value, **style)
        axes.annotate(for_matplotlib(name), (value, 0), xycoords=("data", "axes fraction"), rotation=90, ha="right", **text)
    else:
        axes.axhline(value, **style)
        axes.annotate(for_matplotlib(name), (1, value), xycoords=("axes fraction", "data"), ha="right", **text)


def _draw_heatmap(drawing: Drawing, axes: Axes, mark: Heatmap) -> None:
    look: dict[str, Any] = {"cmap": SEQUENTIAL}
    if mark.diverging:
        look = {"cmap": f"{DIVERGING}_r"}
    if mark.scale is not None:
        look |= dict(zip(("vmin", "vmax"), mark.scale, strict=True))
    found = None if mark.diverging or mark.scale is not None else whole_numbers(mark.values)
    if found is not None:  # a colour for each number
        look["norm"] = BoundaryNorm(np.arange(found[0], found[1] + 2) - 0.5, 256)
    image = axes.imshow(mark.values, aspect="auto", interpolation="nearest", **look)
    ticks_of = None if found is None else range(found[0], found[1] + 1)
    drawing.colorbar(image, ax=axes, label=for_matplotlib(mark.label), ticks=ticks_of)
    for ticks, labels in ((axes.set_xticks, mark.columns), (axes.set_yticks, mark.rows)):
        step = max(1, math.ceil(len(labels) / MOST_TICKS))
        ticks(range(0, len(labels), step), [for_matplotlib(label) for label in labels[::step]])
    axes.tick_params(axis="x", rotation=45)
