"""The eigenvalues of the transitions."""

from __future__ import annotations

from .page import Page


class Transitions(Page, kind="transitions"):
    """The complex plane, and what lies in it."""

    title = "Transitions"
    icon = ":material/blur_circular:"
    order = 10
    shows = ("transition_spectrum", "pseudospectrum")
    intro = (
        "Each token multiplies the state by a transition. Its eigenvalues say what the state can do: 1 keeps, 0 forgets, "
        "-1 flips a sign (parity), a complex pair turns (counting)."
    )
