"""The path of a state, drawn so that it can be read at hundreds of tokens: the last tokens in full, those before faded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...probe.results.palette import REFERENCE, color, rim
from ...probe.results.screen import CLEAR, color_scale
from ...probe.results.text import for_plotly

FADED = 0.18
NAMED = 5  # tokens of the recent path, where the state changes most
TITLES = ("first principal axis", "second principal axis")


def path_chart(rows: pd.DataFrame, position: int, window: int | None, label: str, *, space: bool, dark: bool) -> go.Figure:
    """The states up to a token, on two principal axes or on three.

    rows: of one head's trajectory, one a token, in order. window: how many tokens up to `position` are drawn in full; None
    for all. label: what colours the points. What comes after `position` is not drawn, and the axes stay as they are for all.
    """
    axes = [rows[f"axis_{axis}"].to_numpy() for axis in range(1, 4 if space else 3)]
    values = rows["label"].to_numpy()
    begin = 0 if window is None else max(0, position + 1 - window)
    recent, now = slice(begin, position + 1), slice(position, position + 1)
    text = [for_plotly(f"{row.position}: {row.token!r}, {label} {row.label}") for row in rows[recent].itertuples()]
    scatter = go.Scatter3d if space else go.Scatter
    size = 4 if space else 7
    past = {"mode": "lines", "opacity": FADED, "line": {"color": REFERENCE, "width": 1}, "hoverinfo": "skip"}
    ends = {"cmin": values.min(), "cmax": values.max()}
    look = {
        "size": size,
        "color": values[recent],
        **ends,
        **color_scale(values, label),
        "line": {"color": rim(dark), "width": 1 if dark else 0.5},
    }
    path = {"mode": "lines+markers", "marker": look, "line": {"color": REFERENCE, "width": 1.5}, "text": text}
    ring = {"size": 2.4 * size, "color": color(1), "symbol": "circle-open", "line": {"color": color(1), "width": 3}}
    turns = _turns(rows, begin, position)
    words = {"mode": "text", "text": [for_plotly(repr(rows["token"].iloc[turn])[1:-1]) for turn in turns], "hoverinfo": "skip"}
    traces = [
        scatter(**_along(axes, slice(0, begin + 1)), **past),
        scatter(**_along(axes, recent), **path, hovertemplate="%{text}<extra></extra>"),
        scatter(**_along(axes, now), mode="markers", marker=ring, hoverinfo="skip"),
        scatter(**_along(axes, turns), **words, textposition="top center", textfont={"family": "monospace", "size": 13}),
    ]
    figure = go.Figure(traces, layout=_layout(520 if space else 420, dark))
    limits = [_limits(axis) for axis in axes]
    if space:
        named = zip("xyz", ("axis 1", "axis 2", "axis 3"), limits, strict=True)
        scene = {f"{name}axis": {"title": {"text": title, "font": {"size": 12}}, "range": limit} for name, title, limit in named}
        return figure.update_layout(scene=scene | {"camera": {"eye": {"x": 1.5, "y": 1.5, "z": 1.1}}}, margin={"t": 0, "b": 0})
    figure.update_xaxes(title=TITLES[0], range=limits[0])
    return figure.update_yaxes(title=TITLES[1], range=limits[1])


def _along(axes: list[np.ndarray], which: Any) -> dict[str, np.ndarray]:
    return {name: axis[which] for name, axis in zip("xyz", axes, strict=False)}


def _turns(rows: pd.DataFrame, begin: int, position: int) -> list[int]:
    """The tokens of the recent path after which the state changed most, in order."""
    change = rows["change"].to_numpy()[begin : position + 1]
    return sorted((begin + np.argsort(change, kind="stable")[-NAMED:]).tolist())


def _limits(values: np.ndarray) -> list[float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    return [low - margin, high + margin]


def _layout(height: int, dark: bool) -> dict[str, object]:
    return {
        "template": "plotly_dark" if dark else "plotly_white",
        "height": height,
        "margin": {"l": 50, "r": 10, "t": 20, "b": 40},
        "showlegend": False,
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
    }
