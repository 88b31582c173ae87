"""The transitions of any model on any text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from ...analyses.spectra.by_label import spectrum_by_label
from ...analyses.spectra.memory_horizon import memory_horizon
from ...analyses.spectra.transition_measures import transition_measures
from ...analyses.spectra.transition_spectrum import transition_spectrum
from ...analyses.spectra.window_spectrum import window_spectrum
from ...probe.results.result import Result
from ..components.choose import choose, choose_rows
from ..components.figure import show
from ..components.reading import LiveReading
from ..components.text import literal
from .live_page import LivePage

SPECTRA = "from statescope.analyses.spectra"
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
        models, tokens = {reading.live.name: reading.live.model}, reading.tensor[None]
        named = f"{{{reading.live.name!r}: model}}, tokens"
        length = len(reading.tokens)
        views: dict[str, tuple[str, str, Callable[[], Result]]] = {
            "each token": ("transition_spectrum", f"transition_spectrum({named})", lambda: transition_spectrum(models, tokens)),
            "by token": (
                "by_label",
                f"spectrum_by_label({named}, {{'token': tokens}})",
                lambda: spectrum_by_label(models, tokens, {"token": tokens}, texts=_texts(reading)),
            ),
            "measures of each": (
                "transition_measures",
                f"transition_measures({named})",
                lambda: transition_measures(models, tokens),
            ),
            "memory horizons": ("memory_horizon", f"memory_horizon({named})", lambda: memory_horizon(models, tokens)),
        }
        for window in WINDOWS:
            if window <= length:
                views[f"products of {window} tokens"] = (
                    "window_spectrum",
                    f"window_spectrum({named}, {window})",
                    lambda window=window: window_spectrum(models, tokens, window),  # type: ignore[misc]
                )
        view = choose("view", list(views), "transitions", where=st.columns(4)[0])
        module, call, make = views[view]
        try:
            found: Any = reading.compute("transitions", make, view)
        except (ValueError, RuntimeError, MemoryError) as error:
            st.info(f"This model has nothing to show here: {literal(error)}", icon=":material/info:")
            return
        origin = reading.by(f"{SPECTRA}.{module} import {call.partition('(')[0]}", call)
        show(origin, view.replace(" ", "-"), found, choose_rows([found]))


def _texts(reading: LiveReading) -> dict[str, list[str]]:
    """Each token of the vocabulary that occurs, as text, by its number."""
    highest = max(reading.tokens)
    shown = dict(zip(reading.tokens, reading.texts, strict=True))
    return {"token": [shown.get(token, "") for token in range(highest + 1)]}
