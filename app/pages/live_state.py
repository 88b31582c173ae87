"""The state of any model on any text, token by token."""

from __future__ import annotations

import streamlit as st

from ...analyses.geometry.state_walk import StateWalk, state_walk
from ...probe.results.drawn import DrawnFigure
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ..components.below_state import BELOW, origin_of, show_below
from ..components.choose import choose, choose_position
from ..components.colors import token_values
from ..components.figure import is_dark, show
from ..components.kept_chart import kept_chart
from ..components.reading import LiveReading
from ..components.text import caption, literal
from ..components.token_strip import token_strip
from .live_page import LivePage

SENTENCES = (ValueError, IndexError, MemoryError, RuntimeError)


class LiveState(LivePage, kind="live_state"):
    """The matrix, what is written and erased, its path, and what a query reads."""

    title = "State"
    icon = ":material/grid_on:"
    order = 0
    intro = (
        "The memory of one head after each token. Type a text; step through it with the slider, the arrow keys or play. "
        "Tokens that the model has made itself are underlined."
    )

    def draw(self, reading: LiveReading) -> None:
        model = reading.live.model
        layers = [layer for layer in range(model.layers) if model.has_state(layer)]
        if not layers:
            kinds = ", ".join(dict.fromkeys(model.mixer(layer).title for layer in range(model.layers)))
            st.info(
                f"No layer of this model has a state (its mixers: {literal(kinds)}): what it remembers is every key and value. "
                "The page Attention shows what it looks at.",
                icon=":material/info:",
            )
            return
        columns = st.columns(4)
        layer = choose("layer", layers, "layer", where=columns[0])
        heads = range(model.mixer(layer).axis_sizes["head"])
        head = choose("head", list(heads), "head", where=columns[1])
        values = token_values(reading, columns[2])
        below = choose("below", list(BELOW), "below", where=columns[3])
        try:
            walk = reading.compute("walk", lambda: _walk(reading, layer, head), layer, head)
            scrub(reading, walk, *values, below)
        except SENTENCES as error:
            st.error(f"This state cannot be shown: {literal(error)}")


def _walk(reading: LiveReading, layer: int, head: int) -> StateWalk:
    return state_walk(reading.live.model, reading.tensor, layer, head, name=reading.live.name, texts=list(reading.texts))


@st.fragment
def scrub(reading: LiveReading, walk: StateWalk, label: str, values: list[float], below: str) -> None:
    """What changes with the token. A step runs this part of the page alone."""
    position = choose_position("token", len(walk) - 1, "position", default=len(walk) - 1)
    token_strip(
        walk.texts,
        values,
        position,
        label=label,
        name=reading.name,
        read=reading.read,
    )
    now = walk.at(position)
    facts = st.columns(5)
    facts[0].metric("token", literal(walk.texts[position]))
    facts[1].metric(f"effective rank, of {len(now.about['singular_values'])}", f"{now.about['effective_rank']:.2f}")
    for column, part, words in zip(
        facts[2:], ("state", "written", "erased"), ("norm of the state", "written", "erased"), strict=True
    ):
        norm = now.about["norms"].get(part)
        column.metric(words, "not told" if norm is None else f"{norm:.4g}")
    origin = origin_of(reading, walk, f".at({position})")
    more = st.toggle("Export, numbers and code", key="export-live", help="They take longer than a step through the tokens.")
    if more:
        show(origin, "state", now, {}, words=False)
    else:
        _kept(origin, "state", now)
    try:
        show_below(reading, walk, position, (label, values), below, more=more)
    except SENTENCES as error:
        st.info(f"There is nothing to show below: {literal(error)}", icon=":material/info:")


def _kept(origin: LiveReading, name: str, result: Result) -> None:
    """A figure that keeps its place while the token changes."""
    drawn = DrawnFigure(result.specification()).specification
    kept_chart(draw_on_screen(drawn, dark=is_dark()), f"live-{name}-{origin.name}", drawn.alt)
    caption(drawn.caption)
