"""What tokens are coloured by: where they stand, a label of the task, or what a direction of the run reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import streamlit as st

from ...analyses.behaviour.intervention import read_along
from ...probe.errors import StatescopeError
from ...probe.runs.run import Run
from ...probe.subspaces.direction import Direction
from ..environment import runs_folder
from .choose import choose
from .reading import LiveReading
from .text import in_words

PLACE = "token position"


def token_values(reading: LiveReading, where: Any = st) -> tuple[str, list[float]]:
    """A select box of what there is; the name of what is chosen, and its value after each token."""
    options: dict[str, Callable[[], list[float]]] = {PLACE: lambda: [float(index) for index in range(len(reading.tokens))]}
    task = reading.live.task
    if task is not None:
        labels = reading.compute("labels", lambda: task.labels_of(reading.tensor))
        options |= {name: partial(_listed, values) for name, values in labels.items()}
    for name, direction in run_directions(reading).items():
        along = partial(read_along, reading.live.model, reading.tensor, direction)
        options[f"direction {name}"] = partial(reading.compute, "along", along, name)
    first = next((place for place, name in enumerate(options) if name != PLACE), 0)
    chosen = choose("colour by", list(options), "colour", where=where, index=first, format_func=in_words)
    return in_words(chosen), list(options[chosen]())


def run_directions(reading: LiveReading) -> Mapping[str, Direction]:
    """The directions that the chosen run keeps, of activations that the model has, one vector a token; damaged ones left out."""
    chosen = st.session_state.get("run")
    if chosen is None:
        return {}
    run, found = Run(runs_folder() / chosen), {}
    for name in run.direction_names:
        try:
            direction = run.direction(name)
        except (StatescopeError, ValueError):
            continue
        point = reading.live.model.points.get(direction.hook)
        one_a_token = point is not None and point.axis_names == ["batch", "position", "width"]
        if one_a_token and len(direction.vector) == reading.live.model.sizes["width"]:
            found[name] = direction
    return found


def _listed(values: Any) -> list[float]:
    return [float(value) for value in values.tolist()]
