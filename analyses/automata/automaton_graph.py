"""An automaton drawn as a graph: states on a circle, an arrow from each to the one that a token leads to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...probe.results.figure import Line, Panel, Points
from .automaton import Automaton

MOST_STATES, MOST_TOKENS = 16, 4  # more are no picture
NAMED = 10  # states that the legend tells apart
CURVE = np.linspace(0, 1, 25)
REACH = 0.09  # from the middle of a state to where its arrows end
BREAK = np.full((1, 2), np.nan)

Places = NDArray[np.float64]


def graph_panel(automaton: Automaton, title: str) -> Panel | None:
    """The graph of an automaton, one line a token; None where there are more than 16 states or 4 tokens."""
    states, tokens = automaton.table.shape
    if states > MOST_STATES or tokens > MOST_TOKENS:
        return None
    angle = np.pi / 2 - 2 * np.pi * np.arange(states) / states
    places = np.column_stack([np.cos(angle), np.sin(angle)]) * (states > 1)
    arrows = []
    for token in range(tokens):
        parts = [
            part
            for state, after in enumerate(automaton.table[:, token].tolist())
            if after >= 0
            for part in (*_arrow(places, state, after, token), BREAK)
        ]
        if parts:
            drawn = np.concatenate(parts)
            arrows.append(Line(drawn[:, 0], drawn[:, 1], f"token {token}"))
    said = [
        f"state {state}, answers {answer}{', start' if state == automaton.start else ''}"
        for state, answer in enumerate(automaton.answers.tolist())
    ]
    if states <= NAMED:
        dots = [Points(places[[state], 0], places[[state], 1], said[state], text=[said[state]]) for state in range(states)]
    else:
        answers = automaton.answers.astype(float)
        dots = [Points(places[:, 0], places[:, 1], "states", color=answers, color_label="answer", text=said)]
    return Panel([*arrows, *dots], "", "", title, equal=True, bare=True)


def _arrow(places: Places, start: int, end: int, token: int) -> tuple[Places, Places, Places]:
    """The line from one state to another, bent by its token, a break, and the head."""
    if start == end:
        outward = places[start] if np.linalg.norm(places[start]) else np.array([0.0, 1.0])
        radius = 0.13 + 0.05 * token
        turn = np.arctan2(-outward[1], -outward[0]) + 0.5 + (2 * np.pi - 1.0) * CURVE
        path = places[start] + outward * radius + radius * np.column_stack([np.cos(turn), np.sin(turn)])
    else:
        along = places[end] - places[start]
        across = np.array([along[1], -along[0]])
        control = (places[start] + places[end]) / 2 + across * (0.12 + 0.1 * token)
        weights = np.column_stack([(1 - CURVE) ** 2, 2 * CURVE * (1 - CURVE), CURVE**2])
        path = weights @ np.stack([places[start], control, places[end]])
        gaps = np.linalg.norm(path[:, None] - places[[start, end]], axis=-1).min(1)
        path = path[gaps >= REACH]
    heading = path[-1] - path[-2]
    heading = heading / np.linalg.norm(heading)
    side = np.array([-heading[1], heading[0]])
    head = np.stack([path[-1] - 0.07 * heading + 0.035 * side, path[-1], path[-1] - 0.07 * heading - 0.035 * side])
    return path, BREAK, head
