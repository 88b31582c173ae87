"""Draw a figure on the screen, with plotly."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from .figure import Bars, ByName, Figure, Heatmap, Histogram, Intervals, Line, Mark, Panel, Points, Ranges, Series
from .level_name import freest_corner
from .palette import DASHES, DIVERGING, REFERENCE, SEQUENTIAL, SYMBOLS, on_dark, rim, turn, whole_numbers
from .text import for_plotly, visible
from .thinning import thinned

PANEL_HEIGHT = 340
MOST_TICKS = 40
MOST_LINES = 3  # of a name
LETTERS_ACROSS, ROWS_DOWN = 80, 14  # that stand beside each other at the width and height of a figure on a page
PAGE, NAME_LETTER, TITLE_LETTER, BESIDE = 860, 7, 8.8, 40  # pixels: a page's width, letters, what a title may stand out by
TITLE_LINE = 20  # pixels
MOST_POWERS = 6  # of ten, along an axis
EDGE, SHORT = 0.99, 8  # of a figure's width, where no panel follows; letters that have room above a colour bar
CLEAR = "rgba(0,0,0,0)"


def draw_on_screen(figure: Figure, *, dark: bool = False, width: float = 1.0) -> go.Figure:
    """The figure as a plotly figure, with its own template (never the one another library set as a default). width: the share of
    the page's width that it gets. Of very many points a part is drawn; see `thinned`.
    """
    figure = thinned(figure)
    columns = min(figure.columns, len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    spacing = _spacing(figure.panels, columns)
    titles = _titles(figure.panels, columns, spacing, width)
    drawn = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=spacing, vertical_spacing=0.3 / rows)
    above = TITLE_LINE * max(title.count("<br>") for title in titles[:columns])  # else the figure's own title stands on theirs
    series, shown = figure.series, set[str]()
    if dark:
        series = {label: own._replace(color=on_dark(own.color)) for label, own in series.items()}
    for index, panel in enumerate(figure.panels):
        row, column = index // columns + 1, index % columns + 1
        _draw_panel(drawn, panel, row, column, width / columns, series, shown)
        if column > 1 and _left_names(panel) and _left_names(panel) == _left_names(figure.panels[index - 1]):
            drawn.update_yaxes(showticklabels=False, row=row, col=column)
    drawn.update_layout(
        template="plotly_dark" if dark else "plotly_white",
        title={"text": for_plotly(figure.title), "x": 0, "xanchor": "left"},
        height=PANEL_HEIGHT * rows * (figure.stretch if width == 1 else max(1.0, figure.stretch)) + 90 + above,
        legend={"orientation": "h", "y": -0.18 / rows, "yanchor": "top"},
        margin={"l": 60, "r": 20, "t": 80 + above, "b": 60},
        barmode="group",
        uirevision="kept",
    )
    _place_bars(drawn, figure)
    if dark:  # the page's own dark ground shows through
        drawn.update_layout(paper_bgcolor=CLEAR, plot_bgcolor=CLEAR)
        frame = {"color": rim(dark), "width": 1}
        drawn.update_traces({"marker": {"line": frame}}, lambda trace: trace.type == "scatter" and bool(trace.marker.colorscale))
    return drawn


def _spacing(panels: Sequence[Panel], columns: int) -> float:
    """The share of the width between two columns of panels: room for the names that a panel has on its own."""
    inner = [place for place in range(len(panels)) if place % columns]
    own = [_left_names(panels[place]) for place in inner if _left_names(panels[place]) != _left_names(panels[place - 1])]
    longest = max((len(name) for names in own for name in names), default=0)
    return min(max(0.1, longest / LETTERS_ACROSS), 0.6 / columns)


def _titles(panels: Sequence[Panel], columns: int, spacing: float, width: float) -> list[str]:
    """The titles of panels, in lines that their columns have room for."""
    names = [len(name) for panel in panels[::columns] for name in _left_names(panel)]
    plot = PAGE * width - max(60, 20 + NAME_LETTER * max(names, default=0)) - 20
    room = (plot * (1 - spacing * (columns - 1)) / columns + BESIDE) / TITLE_LETTER
    lines = [textwrap.wrap(visible(panel.title), max(12, int(room))) for panel in panels]
    return ["<br>".join(map(for_plotly, own)) for own in lines]


def _draw_panel(
    drawn: go.Figure, panel: Panel, row: int, column: int, share: float, series: dict[str, Series], shown: set[str]
) -> None:
    """share: of the page's width, that the panel gets. shown: labels that the legend has already."""
    place = {"row": row, "col": column}
    for mark in panel.marks:
        for trace in _traces(mark, series[mark.label], mark.label not in shown, panel):
            drawn.add_trace(trace, **place)
        shown.add(mark.label)
    if panel.unit_circle:
        angle = np.linspace(0, 2 * np.pi, 181)
        circle = {"x": np.cos(angle), "y": np.sin(angle), "mode": "lines", "line": {"color": REFERENCE, "width": 1}}
        drawn.add_trace(go.Scatter(**circle, name="unit circle", showlegend=False, hoverinfo="skip"), **place)
    if panel.level is not None:
        _draw_level(drawn, panel, *panel.level, place)
    drawn.update_xaxes(title_text=for_plotly(panel.x_label), **_scale(panel, "x"), **place)
    drawn.update_yaxes(title_text=for_plotly(panel.y_label), **_scale(panel, "y"), **place)
    _name_axes(drawn, panel, place, share)
    if panel.bare:
        drawn.update_xaxes(visible=False, **place)
        drawn.update_yaxes(visible=False, **place)
    if panel.equal:
        axis = next(drawn.select_xaxes(**place))
        anchor = axis.plotly_name.replace("axis", "")
        drawn.update_yaxes(scaleanchor=anchor, scaleratio=1, **place)


def _draw_level(drawn: go.Figure, panel: Panel, value: float, name: str, place: dict[str, int]) -> None:
    """A line across the panel with its name on it. On a logarithmic axis plotly wants a text's place as a logarithm."""
    line = {"color": REFERENCE, "dash": "dot"}
    text = {"text": for_plotly(name), "showarrow": False}
    across = any(isinstance(mark, Intervals) for mark in panel.marks)
    if value <= 0 and (panel.x_log if across else panel.y_log):
        return  # it has no place there
    if across:
        drawn.add_vline(value, line=line, **place)
        at = math.log10(value) if panel.x_log else value
        drawn.add_annotation(x=at, y=1, yref="y domain", xanchor="left", yanchor="top", **text, **place)
    else:
        drawn.add_hline(value, line=line, **place)
        at = math.log10(value) if panel.y_log else value
        corner = freest_corner(panel)
        anchor = {"xanchor": corner.horizontal, "yanchor": corner.vertical}
        drawn.add_annotation(x=corner.x, xref="x domain", y=at, **anchor, **text, **place)


def _scale(panel: Panel, axis: Literal["x", "y"]) -> dict[str, Any]:
    """Limits, and the ticks of a logarithmic axis, of which plotly wants the limits as logarithms. By itself it would write the 2
    and the 5 between powers of ten alone, and small.
    """
    log, limits = (panel.x_log, panel.x_range) if axis == "x" else (panel.y_log, panel.y_range)
    if not log:
        return {"range": limits, **({"dtick": 1} if axis == "x" and panel.counts else {})}
    scale = {"type": "log", "range": None if limits is None else [math.log10(limit) for limit in limits]}
    decades, ticks = panel.decades(axis), panel.log_ticks(axis)
    if ticks is None:
        return {**scale, "dtick": math.ceil((decades or MOST_POWERS) / MOST_POWERS), "exponentformat": "power"}
    return {**scale, "tickmode": "array", "tickvals": list(ticks), "ticktext": list(ticks.values())}


def _left_names(panel: Panel) -> list[str]:
    """The names down the left side of a panel: of intervals, or of the rows of a map."""
    rows = [list(map(str, mark.rows)) for mark in panel.marks if isinstance(mark, Heatmap)]
    return panel.names if any(isinstance(mark, Intervals) for mark in panel.marks) else next(iter(rows), [])


def _name_axes(drawn: go.Figure, panel: Panel, place: dict[str, int], share: float) -> None:
    """Names stand at whole numbers along an axis: as categories, equal names would fall together and "1e5" be a number."""
    for mark in panel.marks:
        if isinstance(mark, Bars):
            ticks = _ticks(panel.names) | _lines_of(panel.names, int(LETTERS_ACROSS * share))
            drawn.update_xaxes(**ticks, **place)
        elif isinstance(mark, Intervals):
            drawn.update_yaxes(**_ticks(panel.names), range=panel.name_range, **place)
        elif isinstance(mark, Heatmap):
            longest = max((len(str(name)) for name in mark.columns), default=1)
            drawn.update_xaxes(**_ticks(mark.columns, int(LETTERS_ACROSS * share / (longest + 1))), **place)
            down = int(ROWS_DOWN * share) if panel.equal else ROWS_DOWN  # as high as it is wide
            drawn.update_yaxes(**_ticks(mark.rows, down), autorange="reversed", **place)


def _lines_of(names: Sequence[object], room: int) -> dict[str, Any]:
    """Names along an axis of so many letters, in lines where all find room: else plotly slants them, and leaves some out."""
    each = max(1, room // len(names))
    lines = [textwrap.wrap(visible(name), each, break_long_words=False) for name in names]
    if max(len(line) for own in lines for line in own or [""]) > each or max(map(len, lines)) > MOST_LINES:
        return {}
    return {"ticktext": ["<br>".join(map(for_plotly, own)) for own in lines], "tickangle": 0}


def _ticks(names: Sequence[object], most: int = MOST_TICKS) -> dict[str, Any]:
    step = max(1, math.ceil(len(names) / max(most, MOST_TICKS // 8)))
    return {
        "tickmode": "array",
        "tickvals": list(range(0, len(names), step)),
        "ticktext": [for_plotly(name) for name in names[::step]],
        "autotickangles": [0, -30, -90],  # a name that is turned ends below its tick, and not under the next panel or colour bar
    }


def _traces(mark: Mark, series: Series, shown: bool, panel: Panel) -> list[Any]:
    common = {"name": for_plotly(mark.label), "legendgroup": mark.label, "showlegend": shown and bool(mark.label)}
    if isinstance(mark, Line):
        style = {"color": series.color, "dash": "dash" if mark.dashed else DASHES[turn(series.number) % len(DASHES)]}
        curve = go.Scatter(x=mark.x, y=mark.y, mode="lines+markers" if mark.markers else "lines", line=style, **common)
        return [*_band(mark, series.color), curve]
    if isinstance(mark, Points):
        look: dict[str, Any] = {"size": 6, "opacity": 0.75, "color": series.color, "symbol": _symbol(turn(series.number))}
        if mark.color is not None:
            look |= {"color": mark.color, **color_scale(mark.color, mark.color_label)}
        line = {"color": REFERENCE, "width": 1}
        mode = "lines+markers" if mark.joined else "markers"
        text = None if mark.text is None else [for_plotly(entry) for entry in mark.text]
        return [go.Scatter(x=mark.x, y=mark.y, mode=mode, marker=look, line=line, text=text, **common)]
    if isinstance(mark, Histogram):
        middle, width = (mark.edges[1:] + mark.edges[:-1]) / 2, np.diff(mark.edges)
        return [go.Bar(x=middle, y=mark.counts, width=width, marker={"color": series.color, "opacity": 0.6}, **common)]
    if isinstance(mark, Bars):
        return [go.Bar(x=panel.places(mark), y=mark.values, error_y=_error(mark), marker={"color": series.color}, **common)]
    if isinstance(mark, Ranges):
        look = {"line": {"color": series.color, "width": 4}, "marker": {"symbol": "line-ns-open", "size": 10}}
        return [go.Scatter(x=mark.ends, y=np.repeat(panel.places(mark), 3), mode="lines+markers", **look, **common)]
    if isinstance(mark, Intervals):
        look = {"color": series.color, "size": 9, "symbol": _symbol(series.number)}
        return [go.Scatter(x=mark.values, y=panel.places(mark), error_x=_error(mark), mode="markers", marker=look, **common)]
    return [_map(mark)]


def _map(mark: Heatmap) -> go.Heatmap:
    look: dict[str, Any] = {"colorscale": SEQUENTIAL, "colorbar": {"title": {"text": for_plotly(mark.label), "side": "right"}}}
    if mark.diverging:
        look |= {"colorscale": DIVERGING, "reversescale": True}
    elif mark.steps is not None:  # a colour for each number
        steps = color_scale(mark.values, mark.label)
        look = {"colorscale": steps["colorscale"], "zmin": steps["cmin"], "zmax": steps["cmax"], "colorbar": steps["colorbar"]}
    if mark.scale is not None:
        look |= dict(zip(("zmin", "zmax"), mark.scale, strict=True))
    names = {"rows": [for_plotly(name) for name in mark.rows], "columns": [for_plotly(name) for name in mark.columns]}
    return go.Heatmap(z=mark.values, x0=0, dx=1, y0=0, dy=1, meta=names, **look)  # see `interactive` for what names are for


def _symbol(number: int) -> str:
    return SYMBOLS[number % len(SYMBOLS)]


def _error(mark: ByName) -> dict[str, Any] | None:
    reach = mark.reach
    return None if reach is None else {"type": "data", "array": reach[1], "arrayminus": reach[0]}


def _place_bars(drawn: go.Figure, figure: Figure) -> None:
    """Where a figure has several panels, each colour bar stands right of those whose colours it tells, and is as high as they
    are. By themselves all would stand on each other.
    """
    if len(figure.panels) < 2:
        return
    maps = [trace for trace in drawn.data if isinstance(trace, go.Heatmap)]
    places = [place for place, panel in enumerate(figure.panels) for mark in panel.marks if isinstance(mark, Heatmap)]
    of_panel = dict(zip(places, maps, strict=True))
    for sharing in figure.color_bars(min(figure.columns, len(figure.panels))):
        first = sharing[0]
        for place in sharing[1:]:
            of_panel[place].showscale = False
        axes = [(of_panel[place].xaxis or "x", of_panel[place].yaxis or "y") for place in sharing]
        right = max(drawn.layout[f"xaxis{x[1:]}"].domain[1] for x, _ in axes)
        heights = [drawn.layout[f"yaxis{y[1:]}"].domain for _, y in axes]
        low, high = min(low for low, _ in heights), max(high for _, high in heights)
        bar = {"x": right, "xpad": 4, "y": (low + high) / 2, "len": high - low, "thickness": 8, "tickfont": {"size": 9}}
        if right < EDGE and len(of_panel[first].colorbar.title.text or "") <= SHORT:
            bar["title"] = {"side": "top"}  # beside the bar it would stand on the name of the next panel's axis
        of_panel[first].update(colorbar=bar)


def color_scale(values: NDArray[Any], label: str) -> dict[str, Any]:
    """The colours of numbers, with their bar. A few whole numbers have a step each, with a tick in its middle."""
    bar: dict[str, Any] = {"title": {"text": for_plotly(label), "side": "right"}, "thickness": 14}
    found = whole_numbers(values)
    if found is None:
        return {"colorscale": SEQUENTIAL, "colorbar": bar}
    low, high = found
    steps = high - low + 1
    shades = sample_colorscale(SEQUENTIAL, [step / max(steps - 1, 1) for step in range(steps)])
    scale = [[edge / steps, shade] for step, shade in enumerate(shades) for edge in (step, step + 1)]
    ticks = {"tickmode": "array", "tickvals": list(range(low, high + 1)), "ticktext": [str(n) for n in range(low, high + 1)]}
    return {"colorscale": scale, "cmin": low - 0.5, "cmax": high + 0.5, "colorbar": bar | ticks}


def _band(mark: Line, tint: str) -> list[Any]:
    if mark.low is None or mark.high is None:
        return []
    red, green, blue = (int(tint[at : at + 2], 16) for at in (1, 3, 5))
    outline = {"x": np.concatenate([mark.x, mark.x[::-1]]), "y": np.concatenate([mark.high, mark.low[::-1]])}
    fill = {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.18)", "line": {"width": 0}}
    return [go.Scatter(**outline, **fill, mode="lines", legendgroup=mark.label, showlegend=False, hoverinfo="skip")]
