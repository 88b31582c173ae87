"""A change of a run that a reader puts together: in a residual stream or in the state, beside random ones of the same size."""

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
    keys_of,
    random_keys,
    random_ones,
    reflecting,
    removing,
)
from ...probe.hooks.names import hook_name, place_of
from ...probe.subspaces.direction import Direction
from ...probe.tasks.spelling import UnreadableTextError
from .address import recall, remember
from .choose import choose, choose_number, text_box
from .reading import LiveReading
from .text import literal

DRAWS = 8
CONTRAST, SCALE = "two texts apart", "scale the state"
ON_KEYS: Mapping[str, Any] = {"forget a token's key": "project_out_key", "turn a token's key around": "reflect_key"}
ALONG: Mapping[str, Any] = {"move along it": adding, "take it out": removing, "turn it around": reflecting}
WHERE = ("from the token on", "at the token", "at all tokens")


@dataclass(frozen=True)
class PlannedChange:
    """A change in words, what it is, random ones of the same size, and the lines of Python that make them."""

    name: str
    change: Change
    random: Sequence[Change]
    lines: Sequence[str]


def between_texts(reading: LiveReading, layer: int) -> tuple[Direction, str] | None:
    """The direction from one text to another, at the residual stream that leaves a layer, and the line that makes it."""
    read = []
    for box, label, key in zip(st.columns(2), ("text with it", "text without it"), ("with", "without"), strict=True):
        recall(key, "")
        text = remember(key, text_box(label, key, 500, where=box))
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


def along(
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


def in_state(reading: LiveReading, what: str, layer: int, position: int, boxes: Sequence[Any]) -> PlannedChange:
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
