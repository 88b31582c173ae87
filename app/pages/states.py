"""The state of a sequence over time."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from ...analyses.geometry.results.state_trajectory import StateTrajectory, axes_in_words
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ..components.choose import choose, choose_position
from ..components.figure import is_dark, show
from ..components.kept_chart import kept_chart
from ..components.origin import OfRun
from ..components.path_chart import path_chart
from ..components.text import literal
from ..components.token_strip import token_strip
from .page import Page

ALL = "all"


class States(Page, kind="states"):
    """The path of one head's state, token by token."""

    title = "State over time"
    icon = ":material/timeline:"
    order = 20
    shows = ("state_trajectory", "state_projection", "intrinsic_dimension")

    def draw(self, run: Run, results: Mapping[str, Result]) -> None:
        self.head()
        walks = {name: result for name, result in results.items() if isinstance(result, StateTrajectory)}
        if walks:  # one at a time: a browser draws but few charts in space
            name = choose("path", list(walks), "path") if len(walks) > 1 else next(iter(walks))
            _walk(run, name, walks[name])
        for name in [name for name in results if name not in walks]:
            st.subheader(literal(results[name].title))
            show(OfRun(run), name, results[name], {})


def _walk(run: Run, name: str, result: StateTrajectory) -> None:
    """One head over one sequence."""
    columns = st.columns(5)
    models = list(dict.fromkeys(result.table["model"]))
    model = choose("model", models, "model", where=columns[0])
    lively = result.liveliest(model)
    layers = result.select(model=model).selectors["layer"]
    layer = choose("layer", layers, "layer", where=columns[1], index=layers.index(lively["layer"]))
    heads = result.select(model=model, layer=layer).selectors["head"]
    head = choose("head", heads, "head", where=columns[2], index=heads.index(lively["head"]) if lively["head"] in heads else 0)
    view = choose("view", ["plane", "space"], "view", where=columns[3])
    window = choose("tokens in full", ["32", "16", "64", "128", ALL], "window", where=columns[4])
    own = result.select(model=model, layer=layer, head=head)
    _scrub(run, result, own.table.sort_values("position"), (model, layer, head), view, window)
    show(OfRun(run), name, result, {"model": model, "layer": layer, "head": head}, words=False, panels=slice(1, None))


@st.fragment
def _scrub(run: Run, result: StateTrajectory, rows: pd.DataFrame, place: tuple[str, int, int], view: str, window: str) -> None:
    """What changes with the token. A step runs this part of the page alone."""
    model, layer, head = place
    position = choose_position("token", len(rows) - 1, "position", default=len(rows) - 1)
    label = str(result.about.get("label", "label"))
    token_strip(
        rows["token"].tolist(),
        rows["label"].tolist(),
        position,
        label=label,
        name=run.path.name,
    )
    st.caption(f"Click a token or move the slider. Colour: {literal(label)}.")
    here = rows.iloc[position]
    facts = st.columns(4)
    facts[0].metric("token", literal(here["token"]))
    facts[1].metric(literal(label), int(here["label"]))
    facts[2].metric("norm of the state", f"{here['norm']:.3f}")
    facts[3].metric("norm of its change", f"{here['change']:.3f}")
    alt = f"Path of the state of {model}, layer {layer}, head {head}, on its principal axes up to token {position}."
    last = None if window == ALL else int(window)
    chart = path_chart(rows, position, last, label, space=view == "space", dark=is_dark())
    kept_chart(chart, f"path-{run.path.name}-{model}-{layer}-{head}-{view}", alt)
    share = result.about.get("explained", {}).get(f"{model}, layer {layer}, head {head}")
    axes = f"{axes_in_words(len(rows), share).capitalize()}. " if isinstance(share, float) else ""
    st.caption(f"{axes}Named are the tokens after which the state changed most; the path before is faded.")
