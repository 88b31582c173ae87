"""The second chart of the page of the state: the path, all tokens together, the read-out, all heads, recall, the automaton."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ...analyses.automata.model_automaton import model_automaton
from ...analyses.geometry.model_rules import write_rules
from ...analyses.geometry.recall_by_age import recall_by_age
from ...analyses.geometry.recall_capacity import recall_capacity
from ...analyses.geometry.results.state_trajectory import axes_in_words
from ...analyses.geometry.state_walk import StateWalk, head_states
from .choose import choose
from .figure import is_dark, offer, show
from .kept_chart import kept_chart
from .path_chart import path_chart
from .reading import LiveReading
from .text import caption, literal

WALK = "from statescope.analyses.geometry.state_walk import state_walk"
HEADS = "from statescope.analyses.geometry.state_walk import head_states"
RECALL = "from statescope.analyses.geometry.recall_by_age import recall_by_age"
CAPACITY = "from statescope.geometry import recall_capacity, write_rules"
AUTOMATON = "from statescope.analyses.automata.model_automaton import model_automaton"
BELOW = (
    "path in the plane",
    "path in space",
    "over all tokens",
    "read-out",
    "all heads",
    "recall by age",
    "recall capacity",
    "automaton",
)


def show_below(
    reading: LiveReading, walk: StateWalk, position: int, colour: tuple[str, Sequence[float]], below: str, *, more: bool
) -> None:
    """The chart that was chosen, one of BELOW. colour: what tokens are coloured by, and its value after each of them. more: with
    the exports of a chart that is drawn anew at each step.
    """
    label, values = colour
    if below in BELOW[:2]:
        path = reading.compute("path", lambda: walk.trajectory(values, label), walk.layer, walk.head, label)
        space = below == BELOW[1]
        chart = path_chart(path.table, position, 32, label, space=space, dark=is_dark())
        where = f"{walk.name}, layer {walk.layer}, head {walk.head}"
        kept_chart(chart, f"live-path-{where}-{space}", f"Path of the state of {where} up to token {position}.")
        share = next(iter(path.about["explained"].values()))
        said = axes_in_words(len(walk), share).capitalize()
        caption(f"{said}. The last 32 tokens in full; named are those that changed it most.")
        if more:
            figure, origin = path.figure(), origin_of(reading, walk, f".trajectory({list(values)!r}, {label!r})")
            offer(origin, "path", path, figure, figure.to_frame(), {})
    elif below == "over all tokens":
        ranks = reading.compute("geometry", walk.geometry, walk.layer, walk.head)
        show(origin_of(reading, walk, ".geometry()"), "over-tokens", ranks, {})
    elif below == "read-out":
        _read(reading, walk, position)
    elif below == "recall by age":
        model, name = reading.live.model, reading.live.name
        recalled = reading.compute("recall", lambda: recall_by_age({name: model}, reading.tensor[None]))
        origin = reading.by(RECALL, f"recall_by_age({{{name!r}: model}}, tokens)")
        show(origin, "recall-by-age", recalled, {"layer": walk.layer, "head": walk.head})
    elif below == "recall capacity":
        _capacity(reading, walk)
    elif below == "automaton":
        _automaton(reading, walk.layer)
    else:
        model, layer = reading.live.model, walk.layer
        heads = reading.compute(
            "heads", lambda: head_states(model, reading.tensor, layer, position, name=walk.name), layer, position
        )
        call = f"head_states(model, tokens[0], {layer}, {position}, name={walk.name!r})"
        show(reading.by(HEADS, call), "heads", heads, {})


def _capacity(reading: LiveReading, walk: StateWalk) -> None:
    """How many random pairs a state holds that is written as this head writes its own, and how many by theory."""
    model, name, layer, head = reading.live.model, reading.live.name, walk.layer, walk.head
    made = f"recall_capacity(write_rules({{{name!r}: model}}, tokens, layer={layer}, head={head}))"
    held = reading.compute(
        "capacity", lambda: recall_capacity(write_rules({name: model}, reading.tensor[None], layer=layer, head=head)), layer, head
    )
    show(reading.by(CAPACITY, made), "recall-capacity", held, {})


def _automaton(reading: LiveReading, layer: int) -> None:
    """What the states of all heads amount to, on sequences of the task or on pieces of the text."""
    live, task = reading.live, reading.live.task
    st.caption(
        "The text is cut into pieces, each read from an empty state: the model's task is not known."
        if task is None
        else f"On the text, and on sequences of its length that the task {literal(task.kind)} draws."
    )
    found = reading.compute("automaton", lambda: model_automaton(live.model, reading.tensor, layer, task=task), layer)
    known = "" if task is None else f", task={live.task_code}"
    show(reading.by(AUTOMATON, f"model_automaton(model, tokens[0], {layer}{known})"), "automaton", found, {})


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
    show(origin_of(reading, walk, f".read({position}, {what!r}, {of})"), "read-out", walk.read(position, what, of), {})


def origin_of(reading: LiveReading, walk: StateWalk, call: str) -> LiveReading:
    """Where a result comes from that a call makes of the states of one head."""
    shown = f"{list(reading.texts)!r}" if len(reading.texts) <= 64 else f'["?"] * {len(reading.texts)}'
    made = f"state_walk(model, tokens[0], {walk.layer}, {walk.head}, name={walk.name!r}, texts={shown}){call}"
    return reading.by(WALK, made)
