"""Groups and automata behind the states."""

from __future__ import annotations

from .page import Page


class Automata(Page, kind="automata"):
    """Whether transitions compose as a group does, and the automaton that the states amount to."""

    title = "Automata"
    icon = ":material/account_tree:"
    order = 16
    shows = (
        "state_tracking",
        "allowed_and_realised",
        "recovered_automaton",
        "tracking_requirements",
        "homomorphism",
        "element_spectra",
        "expressivity",
        "fixed_points",
    )
    intro = (
        "States that a finite automaton explains fall into clusters, which tokens lead from one to the next. Transitions that "
        "compose as a group does track its word problem exactly. A cell that keeps something has several "
        "states at which it rests."
    )
