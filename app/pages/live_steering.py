"""Changing a run of any model: along a direction, or in the state, beside random changes of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ...analyses.behaviour.intervention import (
    Change,
    adding,
    contrast,
    editing,
    intervene,
    keys_of,
    random_keys,
    random_ones,
    reflecting,
    removing,
)
from ...probe.hooks.names import hook_name, layer_of, place_of
from ...probe.subspaces.direction import Direction
from ...probe.tasks.spelling import UnreadableTextError
from ..components.choose import choose, choose_number, choose_position, recall, remember
from ..components.colors import run_directions
from ..components.figure import show
from ..components.kept_chart import token_strip
from ..components.reading import LiveReading
from ..components.text import literal
from .live_page import LivePage

DRAWS = 8
CONTRAST, SCALE = "two texts apart", "scale the state"
ON_KEYS: Mapping[str, Any] = {"forget a token's key": "project_out_key", "turn a token's key around": "reflect_key"}
ALONG: Mapping[str, Any] = {"move along it": adding, "take it out": removing, "turn it around": reflecting}
WHERE = ("from the token on", "at the token", "at all tokens")
IMPORT = "from statescope.analyses.behaviour.intervention import *"


@dataclass(frozen=True)
class PlannedChange:
    """A change in words, what it is, random ones of the same size, and the lines of Python that make them."""

    name: str
    change: Change
    random: Sequence[Change]
    lines: Sequence[str]


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
        model, kept, columns = reading.live.model, run_directions(reading), st.columns(4)
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
                plan = _in_state(reading, what, layer, position, columns[2:])
            elif what in named:
                lines = [f"direction = Run({st.session_state['run']!r}).direction({what.removeprefix('direction ')!r})"]
                plan = _along(reading, named[what], layer, position, columns[2:], lines)
            else:
                apart = _contrast(reading, layer)
                plan = None if apart is None else _along(reading, apart[0], layer, position, columns[2:], [apart[1]])
            if plan is not None:
                _show(reading, plan)
        except (ValueError, IndexError, RuntimeError, MemoryError) as error:
            st.error(f"This change cannot be made: {literal(error)}")


def _contrast(reading: LiveReading, layer: int) -> tuple[Direction, str] | None:
    """The direction from one text to another, at the residual stream that leaves a layer, and the line that makes it."""
    read = []
    for box, label, key in zip(st.columns(2), ("text with it", "text without it"), ("with", "without"), strict=True):
        recall(key, "")
        text = remember(key, box.text_input(label, key=key, bind="query-params", max_chars=500))
        try:
            read.append(tuple(reading.live.spelling.read(text)))
        except UnreadableTextError as error:
            st.error(f"The model cannot read the {label}: {literal(error)}")
            return None
    if not all(read):
        st.info(
            "Type two texts: the direction is from the mean activation of the second to that of the first.",
            icon=":material/info:",
        )
        return None
    hook, model = hook_name(layer, "hook_resid_post"), reading.live.model
    present, absent = read
    made = reading.compute("contrast", lambda: contrast(model, present, absent, hook, CONTRAST), layer, present, absent)
    return made, f"direction = contrast(model, {present}, {absent}, {hook!r}, {CONTRAST!r})"


def _along(
    reading: LiveReading, direction: Direction, layer: int, position: int, boxes: Sequence[Any], lines: Sequence[str]
) -> PlannedChange:
    """A residual stream moved along a direction, which may be of another layer, or without it."""
    inner = boxes[0].columns(2)
    done = choose("do", list(ALONG), "along", where=inner[0])
    strength = None
    if ALONG[done] is adding:
        strength = choose_number("strength", "strength", -20.0, 20.0, 2.0, 0.5, where=inner[1], help="In gaps of the means.")
    where = choose("where", list(WHERE), "where", where=boxes[1])
    last = len(reading.tokens)
    positions = range(*{WHERE[0]: (position, last), WHERE[1]: (position, position + 1), WHERE[2]: (0, last)}[where])
    moved = direction.at(hook_name(layer, place_of(direction.hook)))
    make, rest = ALONG[done], (positions,) if strength is None else (strength, positions)
    said = f"{make.__name__}({{}}, {', '.join(map(str, rest))})"
    more = [
        f"direction = direction.at({moved.hook!r})",
        f"change = {said.format('direction')}",
        f"random = [{said.format('one')} for one in random_ones(direction, range({DRAWS}))]",
    ]
    how = done.replace("it", direction.name) if strength is None else f"{direction.name} x {strength:g}"
    random = [make(one, *rest) for one in random_ones(moved, range(DRAWS))]
    return PlannedChange(f"{how}, {where}, layer {layer}", make(moved, *rest), random, [*lines, *more])


def _in_state(reading: LiveReading, what: str, layer: int, position: int, boxes: Sequence[Any]) -> PlannedChange:
    """The state of a head changed after a token."""
    model, inner = reading.live.model, boxes[0].columns(2)
    head = choose("head", list(range(model.mixer(layer).axis_sizes["head"])), "head", where=inner[0])
    verb: Any = choose(
        "verb", ["propagate", "readout"], "verb", where=inner[1], help="Go on from the changed state, or read it once."
    )
    if what == SCALE:
        factor = choose_number("factor", "factor", -5.0, 5.0, 0.0, 0.5, where=boxes[1])
        lines = [f"change = editing({layer}, {head}, {position}, 'scale', {factor}, {verb!r})", "random = []"]
        change = editing(layer, head, position, "scale", factor, verb)
        return PlannedChange(f"state of head {head}, layer {layer}, x {factor:g} after token {position}", change, [], lines)
    shown = [f"{place}: {text}" for place, text in enumerate(reading.texts)]
    of = shown.index(choose("key of token", shown, "of", where=boxes[1], index=position))
    key = reading.compute("keys", lambda: keys_of(model, reading.tensor, layer, head), layer, head)[of]
    operation = ON_KEYS[what]
    random = [editing(layer, head, position, operation, one, verb) for one in random_keys(key, range(DRAWS))]
    lines = [
        f"key = keys_of(model, tokens[0], {layer}, {head})[{of}]",
        f"change = editing({layer}, {head}, {position}, {operation!r}, key, {verb!r})",
        f"random = [editing({layer}, {head}, {position}, {operation!r}, one, {verb!r})",
        f"          for one in random_keys(key, range({DRAWS}))]",
    ]
    name = f"{what}: token {of}, head {head}, layer {layer}"
    return PlannedChange(name, editing(layer, head, position, operation, key, verb), random, lines)


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
