"""Changing a run of any model: along a direction, or in the state, beside random changes of the same size."""

from __future__ import annotations

import streamlit as st

from ...analyses.behaviour.intervention import intervene
from ...probe.hooks.names import layer_of
from ..components.choose import choose, choose_position
from ..components.colors import run_directions
from ..components.figure import show
from ..components.planned_change import CONTRAST, DRAWS, ON_KEYS, SCALE, PlannedChange, along, between_texts, in_state
from ..components.reading import LiveReading
from ..components.text import literal
from ..components.token_strip import token_strip
from .live_page import LivePage

IMPORT = "from statescope.analyses.behaviour.intervention import *"


class LiveSteering(LivePage, kind="live_steering"):
    """What is changed, where, how strongly; and what becomes of the next token and of the states."""

    title = "Steering"
    icon = ":material/tune:"
    order = 20
    intro = (
        "Change one thing in a run, and see what becomes of the next token and of the states. A change means something only "
        f"where it does more than a random one of the same size: {DRAWS} of those are drawn beside it."
    )

    def draw(self, reading: LiveReading) -> None:
        model, kept, columns = reading.live.model, run_directions(reading), st.columns([3, 1.5, 4, 2.5])
        stateful = [layer for layer in range(model.layers) if model.has_state(layer)]
        of_state = [*ON_KEYS, SCALE] if stateful else []
        named = {f"direction {name}": direction for name, direction in kept.items()}
        what = choose("change", [*named, CONTRAST, *of_state], "change", where=columns[0])
        layers = stateful if what in of_state else list(range(model.layers))
        own = layer_of(named[what].hook) if what in named else None
        layer = choose("layer", layers, "layer", where=columns[1], index=layers.index(own) if own in layers else 0)
        position = choose_position("changed after token", len(reading.tokens) - 1, "position")
        places = [float(place) for place in range(len(reading.tokens))]
        token_strip(reading.texts, places, position, label="position", name=f"steer-{reading.name}", read=reading.read)
        plan: PlannedChange | None
        try:
            if what in ON_KEYS or what == SCALE:
                plan = in_state(reading, what, layer, position, columns[2:])
            elif what in named:
                lines = [f"direction = Run({st.session_state['run']!r}).direction({what.removeprefix('direction ')!r})"]
                plan = along(reading, named[what], layer, position, columns[2:], lines)
            else:
                apart = between_texts(reading, layer)
                plan = None if apart is None else along(reading, apart[0], layer, position, columns[2:], [apart[1]])
            if plan is not None:
                _show(reading, plan)
        except (ValueError, IndexError, RuntimeError, MemoryError) as error:
            st.error(f"This change cannot be made: {literal(error)}")


def _show(reading: LiveReading, plan: PlannedChange) -> None:
    last = len(reading.tokens) - 1
    at = choose_position("next token after", last, "read", default=last)
    live = reading.live
    with st.spinner("the model runs"), live.lock:
        found, shift = intervene(
            live.model, reading.tensor, plan.change, plan.random, name=plan.name, position=at, show=live.spelling.show
        )
    if found.about["divergence"] == 0:
        st.info(
            "The change does not reach this next token: make it after an earlier token, or read after a later one.",
            icon=":material/info:",
        )
    call = f"intervene(model, tokens[0], change, random, name={plan.name!r}, position={at})"
    show(reading.by(IMPORT, f"{call}[0]", plan.lines), "next-token", found, {}, words=False)
    if shift is not None:
        show(reading.by(IMPORT, f"{call}[1]", plan.lines), "shift", shift, {})
