"""The state of any model on any text, token by token."""

from __future__ import annotations

import streamlit as st

from ...analyses.geometry.state_walk import StateWalk, head_states, state_walk
from ...probe.results.drawn import DrawnFigure
from ...probe.results.result import Result
from ...probe.results.screen import draw_on_screen
from ..components.choose import choose, choose_position
from ..components.colors import token_values
from ..components.figure import is_dark, show
from ..components.kept_chart import kept_chart, token_strip
from ..components.path_chart import path_chart
from ..components.reading import LiveReading
from ..components.text import caption, literal
from .live_page import LivePage

WALK = "from statescope.analyses.geometry.state_walk import state_walk"
HEADS = "from statescope.analyses.geometry.state_walk import head_states"
BELOW = ("path in the plane", "path in space", "over all tokens", "read-out", "all heads")
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
    origin = _origin(reading, walk, f".at({position})")
    _kept(origin, "state", now)
    _below(reading, walk, position, label, values, below)
    if st.toggle("Export this state", key="export-live"):
        show(origin, "state", now, {}, words=False)


def _below(reading: LiveReading, walk: StateWalk, position: int, label: str, values: list[float], below: str) -> None:
    """The second chart, as it was chosen."""
    if below in BELOW[:2]:
        path = reading.compute("path", lambda: walk.trajectory(values, label), walk.layer, walk.head, label)
        space = below == BELOW[1]
        chart = path_chart(path.table, position, 32, label, space=space, dark=is_dark())
        where = f"{walk.name}, layer {walk.layer}, head {walk.head}"
        kept_chart(chart, f"live-path-{where}-{space}", f"Path of the state of {where} up to token {position}.")
        share = next(iter(path.about["explained"].values()))
        caption(f"Three axes hold {share:.1%} of the variance. The last 32 tokens in full; named are those that changed it most.")
    elif below == "over all tokens":
        ranks = reading.compute("geometry", walk.geometry, walk.layer, walk.head)
        show(_origin(reading, walk, ".geometry()"), "over-tokens", ranks, {})
    elif below == "read-out":
        _read(reading, walk, position)
    else:
        model, layer = reading.live.model, walk.layer
        heads = reading.compute(
            "heads", lambda: head_states(model, reading.tensor, layer, position, name=walk.name), layer, position
        )
        call = f"head_states(model, tokens[0], {layer}, {position}, name={walk.name!r})"
        show(reading.by(HEADS, call), "heads", heads, {})


def _read(reading: LiveReading, walk: StateWalk, position: int) -> None:
    queries = [name for name in ("k", "q") if name in walk.tokens]
    if not queries:
        st.info("This mixer reads its state without a query that its hooks show.", icon=":material/info:")
        return
    columns = st.columns(2)
    names = {"k": "the key of", "q": "the query of"}
    what = choose("read with", queries, "query", where=columns[0], format_func=names.__getitem__)
    options = [f"{index}: {text}" for index, text in enumerate(walk.texts)]
    of = options.index(choose("token of the query", options, "of", where=columns[1], index=position))
    show(_origin(reading, walk, f".read({position}, {what!r}, {of})"), "read-out", walk.read(position, what, of), {})


def _kept(origin: LiveReading, name: str, result: Result) -> None:
    """A figure that keeps its place while the token changes."""
    drawn = DrawnFigure(result.specification()).specification
    kept_chart(draw_on_screen(drawn, dark=is_dark()), f"live-{name}-{origin.name}", drawn.alt)
    caption(drawn.caption)


def _origin(reading: LiveReading, walk: StateWalk, call: str) -> LiveReading:
    shown = f"{list(reading.texts)!r}" if len(reading.texts) <= 64 else f'["?"] * {len(reading.texts)}'
    made = f"state_walk(model, tokens[0], {walk.layer}, {walk.head}, name={walk.name!r}, texts={shown}){call}"
    return reading.by(WALK, made)
