"""A figure as a script of matplotlib that draws it from `data.csv` alone, for whoever wants to change it in a paper.

The script makes the same calls as `print` and needs no statescope. Text stands in it as Python strings, numbers in the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import matplotlib
import pandas as pd

from .figure import Bars, Figure, Heatmap, Histogram, Intervals, Line, Mark, Panel, Points, Ranges, Series
from .level_name import freest_corner
from .line_breaks import MARGIN
from .palette import DIVERGING, MARKERS, REFERENCE, SEQUENTIAL, turn
from .print import (
    LINE,
    MOST_TICKS,
    MOST_VECTOR_POINTS,
    RANGE,
    bar_aspect,
    grid_of,
    legend_columns,
    legend_label,
    line_style,
    size_of,
    texts_in_lines,
)
from .style import SMALLEST, PrintStyle, style_named
from .text import for_matplotlib

HEAD = '''"""Draws a figure from data.csv, which lies beside this file: python figure.py writes redrawn.pdf.

Made by statescope; needs matplotlib, numpy and pandas.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, MultipleLocator, NullFormatter, NullLocator

HERE = Path(__file__).resolve().parent
DATA = pd.read_csv(HERE / "data.csv")
SETTINGS = {settings}


def rows(panel, mark):
    """The numbers of one curve, cloud, set of bars or heat map."""
    return DATA[(DATA["panel_number"] == panel) & (DATA["mark_number"] == mark)]


def draw():
    """The figure."""
    figure = Figure(figsize={size}, layout="constrained")
    figure.suptitle({title}, x={margin}, ha="left", linespacing={line})
    grid = figure.subplots({grid}, squeeze=False)
'''
TAIL = """    named = {{}}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if len(named) > 1:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols={columns}, frameon=False)
    return figure


if __name__ == "__main__":
    with matplotlib.rc_context(SETTINGS):
        draw().savefig(HERE / "redrawn.pdf", metadata={{"CreationDate": None}})
"""


TEXTS = "xlabel", "ylabel", "title"  # of a panel, in the order of `texts_in_lines`


def numbered_frame(figure: Figure) -> pd.DataFrame:
    """Every drawn number, as `Figure.to_frame` has them, with the numbers of its panel and of its mark there, from 0."""
    parts = [
        mark.to_frame().assign(panel=panel.title or panel.y_label, panel_number=place, mark_number=number)
        for place, panel in enumerate(figure.panels)
        for number, mark in enumerate(panel.marks)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def script_of(figure: Figure, style: str | PrintStyle) -> str:
    """Write the script that draws the figure again."""
    look = style_named(style)
    (rows, columns), texts = grid_of(figure, look), texts_in_lines(figure, look)
    size, (title, *of_panels), series = size_of(figure, look, texts), texts, figure.series
    fixed = {"settings": repr(look.settings()), "size": size, "title": repr(title), "grid": f"{rows}, {columns}"}
    begin = HEAD.format(**fixed, margin=MARGIN, line=LINE)
    lines = [
        f"    {line}"
        for place, panel in enumerate(figure.panels)
        for line in (
            f"axes = grid[{place // columns}][{place % columns}]",
            *_panel(place, panel, series),
            *(
                f"axes.set_{name}({text!r}, linespacing={LINE})"
                for name, text in zip(TEXTS, of_panels[3 * place :], strict=False)
            ),
        )
    ]
    lines += [f"    {line}" for line in _color_bars(figure, columns)]
    spare = range(len(figure.panels), rows * columns)
    lines += [f"    grid[{place // columns}][{place % columns}].set_axis_off()" for place in spare]
    with matplotlib.rc_context(look.settings()):
        shown = legend_columns(size[0], [legend_label(label) for label in series if label])
    return begin + "\n".join(lines) + "\n" + TAIL.format(columns=shown)


def _color_bars(figure: Figure, columns: int) -> Iterator[str]:
    for sharing in figure.color_bars(columns):
        mark = next(mark for mark in figure.panels[sharing[0]].marks if isinstance(mark, Heatmap))
        axes = [f"grid[{place // columns}][{place % columns}]" for place in sharing]
        label = f"label={for_matplotlib(mark.label)!r}{_ticks(mark.steps)}"
        look = f"aspect={bar_aspect(sharing, columns)}, {label}"
        yield f"figure.colorbar({axes[0]}.images[0], ax=[{', '.join(axes)}], {look})"


def _panel(place: int, panel: Panel, series: dict[str, Series]) -> Iterator[str]:
    bars = [mark for mark in panel.marks if isinstance(mark, Bars)]
    for number, mark in enumerate(panel.marks):
        yield f"own = rows({place}, {number})"
        yield from _mark(panel, mark, series[mark.label], bars)
    if panel.unit_circle:
        yield "angle = np.linspace(0, 2 * np.pi, 181)"
        yield f"axes.plot(np.cos(angle), np.sin(angle), color={REFERENCE!r}, linewidth=0.6, zorder=0)"
    if panel.level is not None:
        yield from _level(panel, *panel.level)
    if panel.counts:
        yield "axes.xaxis.set_major_locator(MultipleLocator(1))"
    if panel.x_log:
        yield from _log_axis("x", panel.log_ticks("x"))
    if panel.y_log:
        yield from _log_axis("y", panel.log_ticks("y"))
    for limits, name in ((panel.x_range, "x"), (panel.y_range, "y")):
        if limits is not None:
            yield f"axes.set_{name}lim{tuple(map(float, limits))!r}"
    if panel.bare:
        yield "axes.set_axis_off()"
    if panel.equal:
        yield 'axes.set_aspect("equal", adjustable="datalim")'


def _log_axis(name: str, ticks: dict[float, str] | None) -> Iterator[str]:
    yield f'axes.set_{name}scale("log")'
    if ticks is None:
        yield f"axes.{name}axis.set_major_locator(LogLocator(numticks=5))"
    else:
        yield f"axes.{name}axis.set_major_locator(FixedLocator({list(ticks)}))"
        yield f"axes.{name}axis.set_major_formatter(FixedFormatter({list(ticks.values())}))"
        yield f"axes.{name}axis.set_minor_locator(NullLocator())"
    yield f"axes.{name}axis.set_minor_formatter(NullFormatter())"


def _level(panel: Panel, value: float, name: str) -> Iterator[str]:
    style, text = f'color={REFERENCE!r}, linestyle=":", linewidth=0.8', f"fontsize={SMALLEST}, color={REFERENCE!r}"
    shown = for_matplotlib(name)
    if any(isinstance(mark, Intervals) for mark in panel.marks):
        yield f"axes.axvline({float(value)!r}, {style})"
        place = f'({float(value)!r}, 1), xycoords=("data", "axes fraction"), xytext=(2, 0), textcoords="offset points"'
        place += ', ha="left", va="top"'
    else:
        yield f"axes.axhline({float(value)!r}, {style})"
        corner = freest_corner(panel)
        place = f'({corner.x}, {float(value)!r}), xycoords=("axes fraction", "data")'
        place += f", ha={corner.horizontal!r}, va={corner.vertical!r}, xytext=({corner.inward}, 0), textcoords='offset points'"
    yield f"axes.annotate({shown!r}, {place}, {text})"


def _mark(panel: Panel, mark: Mark, series: Series, bars: list[Bars]) -> Iterator[str]:
    tint, label = series.color, f"label={legend_label(mark.label)!r}"
    if isinstance(mark, Line):
        look = f"color={tint!r}, linestyle={line_style(mark, series)!r}"
        marker = "marker='o', markersize=2.5, " if mark.markers else ""
        yield f'axes.plot(own["x"], own["y"], {marker}{look}, {label})'
        if mark.low is not None:
            yield f'axes.fill_between(own["x"], own["low"], own["high"], color={tint!r}, alpha=0.18, linewidth=0)'
    elif isinstance(mark, Points):
        if mark.joined:
            yield f'axes.plot(own["x"], own["y"], color={REFERENCE!r}, linewidth=0.5, zorder=1)'
        look = f"rasterized={len(mark.x) > MOST_VECTOR_POINTS}, zorder=2, {_tint(mark, tint)}, {label}"
        look += f", marker={MARKERS[turn(series.number) % len(MARKERS)]!r}"
        yield f'cloud = axes.scatter(own["x"], own["y"], s=5, alpha=0.75, {look})'
        if mark.color is not None:
            yield f"figure.colorbar(cloud, ax=axes, label={for_matplotlib(mark.color_label)!r}{_ticks(mark.steps)})"
    elif isinstance(mark, Histogram):
        edges = 'np.append(own["from"].to_numpy(), own["to"].iloc[-1])'
        yield f'axes.stairs(own["y"].to_numpy(), {edges}, fill=True, alpha=0.5, color={tint!r}, {label})'
    elif isinstance(mark, Heatmap):
        yield from _heatmap(mark)
    else:
        yield from _named(panel, mark, series, bars)


def _tint(mark: Points, tint: str) -> str:
    """The colours of a cloud, as arguments."""
    if mark.color is None:
        return f"color={tint!r}"
    return f'c=own["color"], cmap={SEQUENTIAL!r}{_stepped(mark.steps)}'


def _stepped(steps: tuple[int, int] | None) -> str:
    """The argument that gives each of a few whole numbers a colour; none where the scale is continuous."""
    return "" if steps is None else f", norm=BoundaryNorm(np.arange({steps[0]}, {steps[1] + 2}) - 0.5, 256)"


def _ticks(steps: tuple[int, int] | None) -> str:
    return "" if steps is None else f", ticks=range({steps[0]}, {steps[1] + 1})"


def _named(panel: Panel, mark: Bars | Intervals, series: Series, bars: list[Bars]) -> Iterator[str]:
    names, places = [for_matplotlib(name) for name in panel.names], panel.places(mark).tolist()
    error, label = "None", f"label={legend_label(mark.label)!r}"
    if mark.low is not None:
        error = 'np.vstack([own["value"] - own["low"], own["high"] - own["value"]]).clip(0)'
    if isinstance(mark, Bars):
        width = 0.8 / len(bars)
        shift = (next(place for place, own in enumerate(bars) if own is mark) - (len(bars) - 1) / 2) * width
        look = f'width={width!r}, yerr={error}, color={series.color!r}, {label}, error_kw={{"linewidth": 0.7}}'
        yield f'axes.bar(np.array({places}) + {shift!r}, own["value"], {look})'
        yield f'axes.set_xticks(range({len(names)}), {names!r}, rotation=30, ha="right")'
        return
    if isinstance(mark, Ranges):
        look = ", ".join(f"{name}={value!r}" for name, value in RANGE.items())
        ends = 'np.column_stack([own["low"], own["high"], np.full(len(own), np.nan)]).ravel()'
        yield f"axes.plot({ends}, np.repeat({places}, 3), {look}, color={series.color!r}, {label})"
    else:
        yield _interval(places, error, series, label)
    yield f"axes.set_yticks(range({len(names)}), {names!r})"
    yield f"axes.set_ylim{panel.name_range}"
    yield 'axes.grid(axis="y", linewidth=0.3, alpha=0.6)'


def _interval(places: list[float], error: str, series: Series, label: str) -> str:
    filled = "" if series.number % 2 == 0 else ', markerfacecolor="white"'
    look = f"fmt={MARKERS[series.number % len(MARKERS)]!r}, markersize=3, linewidth=0.8, color={series.color!r}{filled}, {label}"
    return f'axes.errorbar(own["value"], {places}, xerr={error}, {look})'


def _heatmap(mark: Heatmap) -> Iterator[str]:
    yield f'values = own["value"].to_numpy().reshape{mark.values.shape!r}'
    look = f'cmap="{DIVERGING}_r"' if mark.diverging else f"cmap={SEQUENTIAL!r}"
    if mark.scale is not None:
        look += ", vmin={!r}, vmax={!r}".format(*mark.scale)
    look += _stepped(mark.steps)
    yield f'axes.imshow(values, aspect="auto", interpolation="nearest", {look})'
    for name, labels in (("x", mark.columns), ("y", mark.rows)):
        step = max(1, math.ceil(len(labels) / MOST_TICKS))
        yield f"axes.set_{name}ticks(range(0, {len(labels)}, {step}), {[for_matplotlib(one) for one in labels[::step]]!r})"
    yield 'axes.tick_params(axis="x", rotation=45)'
