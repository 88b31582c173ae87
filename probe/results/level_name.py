"""Where the name of a level stands on its line, away from what is drawn there."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from .marks import ByName, Histogram, Line, Mark, Points, Values
from .panel import Panel

LETTER, LINE = 0.025, 0.1  # of the width of a panel, of its height: what a name takes
DENSE = 200  # places along a curve
FOOT_TO_HEAD = np.linspace(0, 1, 11)
MARGIN = 0.05  # of the numbers' span, around them


class Corner(NamedTuple):
    """At which end of the line, and on which side of it, as both painters call the sides of a text."""

    horizontal: Literal["right", "left"]
    vertical: Literal["bottom", "top"]

    @property
    def x(self) -> int:
        """The place across the panel, as a share of it."""
        return 1 if self.horizontal == "right" else 0

    @property
    def inward(self) -> int:
        """The points in print between the end of the line and the name."""
        return -2 if self.horizontal == "right" else 2


CORNERS = (Corner("right", "bottom"), Corner("right", "top"), Corner("left", "bottom"), Corner("left", "top"))


def freest_corner(panel: Panel) -> Corner:
    """The corner in which the fewest marks would touch the name of the panel's level; the first of those that are alike."""
    assert panel.level is not None
    value, name = panel.level
    u, v, line = _shares(panel, value)
    width = min(0.5, LETTER * (len(name) + 2))

    def touched(corner: Corner) -> float:
        low = line if corner.vertical == "bottom" else line - LINE
        if low < 0 or low + LINE > 1:
            return np.inf
        beside = u > 1 - width if corner.horizontal == "right" else u < width
        return float((beside & (v > low - LINE / 4) & (v < low + 1.25 * LINE)).sum())

    return min(CORNERS, key=touched)


def _shares(panel: Panel, value: float) -> tuple[Values, Values, float]:
    """Where all that is drawn lies, and the level, as shares of the panel's width and height."""
    drawn = [part for mark in panel.marks for part in _places(mark, panel)]
    x, y = (np.concatenate([*(np.asarray(part[axis], float) for part in drawn), np.empty(0)]) for axis in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.log10(x) if panel.x_log else x
        y, value = (np.log10(y), float(np.log10(value))) if panel.y_log else (y, value)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    low, high = _ends(np.append(y, value), panel.y_range, log=panel.y_log)
    first, last = _ends(x, panel.x_range, log=panel.x_log)
    return (x - first) / (last - first), (y - low) / (high - low), (value - low) / (high - low)


def _places(mark: Mark, panel: Panel) -> list[tuple[Values, Values]]:
    """Points along a mark: of curves also between their numbers and on the edges of their band; of bars from foot to head."""
    if isinstance(mark, ByName):
        return [(panel.places(mark), np.asarray(mark.values, float) * share) for share in FOOT_TO_HEAD]
    if isinstance(mark, Histogram):
        return [((mark.edges[1:] + mark.edges[:-1]) / 2, mark.counts * share) for share in FOOT_TO_HEAD]
    if isinstance(mark, Points):
        return [(mark.x, mark.y)]
    if not isinstance(mark, Line) or not len(mark.x):
        return []
    spots, along = np.arange(len(mark.x)), np.linspace(0, len(mark.x) - 1, max(DENSE, len(mark.x)))
    edges = [np.asarray(y, float) for y in (mark.y, mark.low, mark.high) if y is not None]
    return [(np.interp(along, spots, np.asarray(mark.x, float)), np.interp(along, spots, y)) for y in edges]


def _ends(values: Values, limits: tuple[float, float] | None, *, log: bool) -> tuple[float, float]:
    if limits is not None:
        low, high = np.log10(limits) if log else limits
        return float(low), float(high)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (high - low) or 0.5
    return low - room, high + room
