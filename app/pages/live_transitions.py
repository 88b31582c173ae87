"""The transitions of any model on any text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from ...analyses.automata.allowed_and_realised import allowed_and_realised
from ...analyses.automata.requirements import tracking_requirements
from ...analyses.spectra.by_label import spectrum_by_label
from ...analyses.spectra.lasting_directions import lasting_directions
from ...analyses.spectra.memory_horizon import memory_horizon
from ...analyses.spectra.stability import stability
from ...analyses.spectra.transition_measures import transition_measures
from ...analyses.spectra.transition_spectrum import transition_spectrum
from ...analyses.spectra.window_spectrum import window_spectrum
from ...probe.results.result import Result
from ..components.choose import choose, choose_rows
from ..components.figure import show
from ..components.reading import LiveReading
from ..components.text import literal
from .live_page import LivePage

View = tuple[str, str, Callable[[], Result]]  # module of the analyses, call as Python, and the call
WINDOWS = (2, 4, 8, 16, 32)


class LiveTransitions(LivePage, kind="live_transitions"):
    """Eigenvalues of single tokens and of products, by token, and how long directions of the state last."""

    title = "Transitions"
    icon = ":material/blur_circular:"
    order = 10
    intro = (
        "Each token multiplies the state by a transition. Its eigenvalues say what the state can do: 1 keeps, 0 forgets, "
        "-1 flips a sign (parity), a complex pair turns (counting)."
    )

    def draw(self, reading: LiveReading) -> None:
        views = _views(reading)
        view = choose("view", list(views), "transitions", where=st.columns(4)[0])
        module, call, make = views[view]
        try:
            found: Any = reading.compute("transitions", make, view)
        except (ValueError, RuntimeError, MemoryError) as error:
            st.info(f"This model has nothing to show here: {literal(error)}", icon=":material/info:")
            return
        origin = reading.by(f"from statescope.analyses.{module} import {call.partition('(')[0]}", call)
        show(origin, view.replace(" ", "-"), found, choose_rows([found]))


def _views(reading: LiveReading) -> dict[str, View]:
    """What there is to see, by its name."""
    models, tokens, length = {reading.live.name: reading.live.model}, reading.tensor[None], len(reading.tokens)
    given = f"{{{reading.live.name!r}: model}}, tokens"
    task = reading.live.task
    labels = {} if task is None else {name: values[None] for name, values in task.labels_of(reading.tensor).items()}
    plain: dict[str, tuple[str, Callable[..., Result]]] = {
        "each token": ("spectra.transition_spectrum.transition_spectrum", transition_spectrum),
        "measures of each": ("spectra.transition_measures.transition_measures", transition_measures),
        "memory horizons": ("spectra.memory_horizon.memory_horizon", memory_horizon),
        "directions that last": ("spectra.lasting_directions.lasting_directions", lasting_directions),
        "what the family allows": ("automata.allowed_and_realised.allowed_and_realised", allowed_and_realised),
        "what tracking needs": ("automata.requirements.tracking_requirements", tracking_requirements),
        "stability": ("spectra.stability.stability", stability),
    }
    views: dict[str, View] = {}
    for name, (path, measure) in plain.items():
        module, _, function = path.rpartition(".")
        views[name] = (module, f"{function}({given})", partial(measure, models, tokens))
    for name, classes in {"token": tokens, **labels}.items():
        values = "tokens" if classes is tokens else f"torch.tensor({classes.tolist()})"
        by_class = partial(spectrum_by_label, models, tokens, {name: classes}, texts=_texts(reading) if name == "token" else None)
        call = f"spectrum_by_label({given}, {{{name!r}: {values}}})"
        views[f"by {name.replace('_', ' ')}"] = ("spectra.by_label", call, by_class)
    for window in (window for window in WINDOWS if window <= length):
        call, of_products = f"window_spectrum({given}, {window})", partial(window_spectrum, models, tokens, window)
        views[f"products of {window} tokens"] = ("spectra.window_spectrum", call, of_products)
    return views


def _texts(reading: LiveReading) -> dict[str, list[str]]:
    """Each token of the vocabulary that occurs, as text, by its number."""
    highest = max(reading.tokens)
    shown = dict(zip(reading.tokens, reading.texts, strict=True))
    return {"token": [shown.get(token, "") for token in range(highest + 1)]}
