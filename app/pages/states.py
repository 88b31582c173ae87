"""The state of a sequence over time."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import streamlit as st

from ...analyses.geometry.state_trajectory import StateTrajectory
from ...probe.results.palette import REFERENCE, SEQUENTIAL, color
from ...probe.results.result import Result
from ...probe.results.screen import CLEAR
from ...probe.results.text import for_plotly
from ...probe.runs.run import Run
from ..components.choose import choose, choose_position
from ..components.figure import is_dark, show_result
from ..components.kept_chart import kept_chart, token_strip
from ..components.text import literal
from .page import Page

OUTLINE = {"color": REFERENCE, "width": 0.5}


class States(Page, kind="states"):
    """The path of one head's state, token by token."""

    title = "State over time"
    icon = ":material/timeline:"
    order = 20
    shows = ("state_trajectory",)

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        self.head()
        for name, result in results.items():
            if isinstance(result, StateTrajectory):
                _walk(run, name, result)


def _walk(run: Run, name: str, result: StateTrajectory) -> None:
    """One head over one sequence."""
    columns = st.columns(4)
    models = list(dict.fromkeys(result.table["model"]))
    model = choose("model", models, "model", where=columns[0])
    lively = result.liveliest(model)
    layers = result.select(model=model).selectors["layer"]
    layer = choose("layer", layers, "layer", where=columns[1], index=layers.index(lively["layer"]))
    heads = result.select(model=model, layer=layer).selectors["head"]
    head = choose("head", heads, "head", where=columns[2], index=heads.index(lively["head"]) if lively["head"] in heads else 0)
    view = choose("view", ["plane", "space"], "view", where=columns[3])
    own = result.select(model=model, layer=layer, head=head)
    rows = own.table.sort_values("position")
    position = choose_position("token", len(rows) - 1, "position")
    label = str(result.about.get("label", "label"))
    strip = f"strip-{run.path.name}"
    token_strip(
        rows["token"].tolist(),
        rows["label"].tolist(),
        position,
        label=label,
        key=strip,
        chosen=lambda: _follow_click(strip),
    )
    st.caption(f"Click a token or move the slider. Colour: {literal(label)}.")
    here = rows.iloc[position]
    facts = st.columns(4)
    facts[0].metric("token", literal(here["token"]))
    facts[1].metric(literal(label), int(here["label"]))
    facts[2].metric("norm of the state", f"{here['norm']:.3f}")
    facts[3].metric("norm of its change", f"{here['change']:.3f}")
    alt = f"Path of the state of {model}, layer {layer}, head {head}, on its principal axes; token {position} is marked."
    draw = _space if view == "space" else _plane
    kept_chart(draw(own, position, label), f"path-{run.path.name}-{model}-{layer}-{head}-{view}", alt)
    share = result.about.get("explained", {}).get(f"{model}, layer {layer}, head {head}")
    if share is not None:
        st.caption(f"The three axes hold {share:.1%} of the variance of this head's states.")
    show_result(run, name, result, {"model": model, "layer": layer, "head": head})


def _follow_click(strip: str) -> None:
    st.session_state["position"] = int(st.session_state[strip]["position"])


def _layout(height: int) -> dict[str, object]:
    return {
        "template": "plotly_dark" if is_dark() else "plotly_white",
        "height": height,
        "margin": {"l": 50, "r": 10, "t": 20, "b": 40},
        "showlegend": False,
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
    }


def _plane(result: StateTrajectory, position: int, label: str) -> go.Figure:
    rows = result.table.sort_values("position")
    here = rows.iloc[[position]]
    marker = {
        "color": rows["label"].to_numpy(),
        "colorscale": SEQUENTIAL,
        "size": 7,
        "line": OUTLINE,
        "colorbar": {"title": for_plotly(label)},
    }
    text = [for_plotly(f"{row.position}: {row.token!r}, {label} {row.label}") for row in rows.itertuples()]
    line = {"color": REFERENCE, "width": 1}
    x, y = rows["axis_1"].to_numpy(), rows["axis_2"].to_numpy()
    path = go.Scatter(x=x, y=y, mode="lines+markers", marker=marker, line=line, text=text)
    ring = {"size": 18, "color": "rgba(0,0,0,0)", "line": {"color": color(1), "width": 3}}
    now = go.Scatter(x=here["axis_1"].to_numpy(), y=here["axis_2"].to_numpy(), mode="markers", marker=ring, hoverinfo="skip")
    figure = go.Figure([path, now], layout=_layout(420))
    return figure.update_layout(xaxis_title="first principal axis", yaxis_title="second principal axis")


def _space(result: StateTrajectory, position: int, label: str) -> go.Figure:
    rows = result.table.sort_values("position")
    here = rows.iloc[[position]]
    axes = [rows[f"axis_{axis}"].to_numpy() for axis in (1, 2, 3)]
    marker = {
        "color": rows["label"].to_numpy(),
        "colorscale": SEQUENTIAL,
        "size": 4,
        "line": OUTLINE,
        "colorbar": {"title": for_plotly(label)},
    }
    text = [for_plotly(f"{row.position}: {row.token!r}, {label} {row.label}") for row in rows.itertuples()]
    line = {"color": REFERENCE, "width": 2}
    path = go.Scatter3d(x=axes[0], y=axes[1], z=axes[2], mode="lines+markers", marker=marker, line=line, text=text)
    spot = {"size": 9, "color": color(1), "symbol": "circle-open"}
    now = go.Scatter3d(x=here["axis_1"], y=here["axis_2"], z=here["axis_3"], mode="markers", marker=spot, hoverinfo="skip")
    figure = go.Figure([path, now], layout=_layout(520))
    titles = {f"{name}axis": {"title": f"axis {index}"} for index, name in enumerate("xyz", start=1)}
    return figure.update_layout(scene=titles)
