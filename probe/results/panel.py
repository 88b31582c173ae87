"""One pair of axes of a figure: its marks, and what its axes show of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .marks import Bars, ByName, Intervals, Line, Mark, Points, Values, has_numbers
from .ticks import ticks_at_choices, ticks_between_powers

EVERY, SHARE = (-math.inf, math.inf), (0.0, 1.0)  # bounds: of any number; of an accuracy, a probability, a share
ONE = 1e-6  # of their size: numbers that differ by less are one but for rounding
MOST_COUNTED = 10
NAME_OF_LEVEL = 0.9  # of the height of a name, above the first: there the name of a level stands
ROOM_ABOVE = 0.16  # of what curves span: the room above a level for its name
APART = 0.16  # of the height of a name, between two intervals of it


@dataclass(frozen=True)
class Panel:
    """One pair of axes. A mark of which no number is known is left out, so that no legend names what cannot be seen.

    equal: one unit is as long on both axes. unit_circle: draw it, for eigenvalues in the complex plane. bare: without axes, where
        places mean nothing, as in a graph.
    level: a line across the axes at this value with its name, such as chance.
    x_range, y_range: limits; None leaves them to the data.
    bounds: the least and the largest value that what is drawn can have, such as 0 and 1 of an accuracy (see SHARE); an interval
        of its mean ends there.
    """

    marks: Sequence[Mark]
    x_label: str
    y_label: str
    title: str = ""
    x_log: bool = False
    y_log: bool = False
    equal: bool = False
    unit_circle: bool = False
    bare: bool = False
    level: tuple[float, str] | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    bounds: tuple[float, float] = EVERY

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", [mark for mark in self.marks if has_numbers(mark)])
        for axis in ("x", "y"):
            if getattr(self, f"{axis}_range") is None:
                object.__setattr__(self, f"{axis}_range", self._range_of_one(axis))
        if self.y_range is None:
            object.__setattr__(self, "y_range", self._range_above_level())

    def _range_of_one(self, axis: Literal["x", "y"]) -> tuple[float, float] | None:
        """Limits about numbers that are one but for rounding, of which an axis of its own would show nothing else."""
        along = any(isinstance(mark, Intervals) for mark in self.marks)
        level = [] if self.level is None or along != (axis == "x") else [self.level[0]]
        values = np.append(self._drawn(axis), level)
        size, spread = (np.abs(values).max(), np.ptp(values)) if values.size else (0.0, 0.0)
        room = 0.1 * size
        return (float(values.min() - room), float(values.max() + room)) if 0 < spread <= ONE * size else None

    def _range_above_level(self) -> tuple[float, float] | None:
        """Limits that leave the name of a level its room above the line, where curves come from below up to it."""
        curves = [mark for mark in self.marks if isinstance(mark, Line | Points)]
        if self.level is None or len(curves) < len(self.marks) or (self.y_log and self.level[0] <= 0):
            return None
        values = self._drawn("y")
        values = np.append(values[values > 0] if self.y_log else values, self.level[0])
        values = np.log10(values) if self.y_log else values
        low, high, level = float(values.min()), float(values.max()), float(values[-1])
        span = high - low
        if not span or level < high - ROOM_ABOVE * span:
            return None
        ends = low - 0.05 * span, level + ROOM_ABOVE * span
        return (10 ** ends[0], 10 ** ends[1]) if self.y_log else ends

    @property
    def counts(self) -> bool:
        """Whether curves are over a few whole numbers, such as layers, between which no tick may stand."""
        x = self._drawn("x")
        lines = all(isinstance(mark, Line) for mark in self.marks)
        return lines and not self.x_log and x.size > 0 and bool((x == x.round()).all()) and 0 < np.ptp(x) <= MOST_COUNTED

    @property
    def names(self) -> list[str]:
        """The names along the axis of bars or intervals. Where all marks name the same, a name may stand there twice."""
        lists = [[str(name) for name in mark.names] for mark in self.marks if isinstance(mark, ByName)]
        if all(names == lists[0] for names in lists):
            return lists[0] if lists else []
        return list(dict.fromkeys(name for names in lists for name in names))

    def decades(self, axis: Literal["x", "y"]) -> float:
        """How many powers of ten the drawn numbers span along an axis; 0 where none is positive."""
        least, most = self._positive(axis)
        return math.log10(most / least)

    def log_ticks(self, axis: Literal["x", "y"]) -> dict[float, str] | None:
        """The ticks of a logarithmic axis by their places: the values of x that curves were measured at, where these are a few
        round numbers, else 1, 2 and 5 times powers of ten. None where powers of ten alone say enough.
        """
        curves = [mark.x for mark in self.marks if isinstance(mark, Line)]
        at = np.unique(np.concatenate([*(np.asarray(x, float) for x in curves), np.empty(0)]))
        alone = axis == "x" and len(curves) == len(self.marks)
        chosen = ticks_at_choices(at[np.isfinite(at) & (at > 0)]) if alone else None
        return chosen or ticks_between_powers(*self._positive(axis))

    def _positive(self, axis: Literal["x", "y"]) -> tuple[float, float]:
        """The least and the largest positive number along an axis; 1 and 1 where there is none."""
        values = self._drawn(axis)
        values = values[values > 0]
        return (float(values.min()), float(values.max())) if values.size else (1.0, 1.0)

    def _drawn(self, axis: Literal["x", "y"]) -> Values:
        """The finite numbers along an axis, those of bands and intervals too."""
        drawn = [getattr(mark, axis) for mark in self.marks if isinstance(mark, Line | Points)]
        drawn += [mark.values for mark in self.marks if isinstance(mark, Intervals if axis == "x" else Bars)]
        banded = Intervals if axis == "x" else Line | Bars
        drawn += [edge for mark in self.marks if isinstance(mark, banded) for edge in (mark.low, mark.high) if edge is not None]
        values: Values = np.concatenate([*(np.asarray(one, float) for one in drawn), np.empty(0)])
        return values[np.isfinite(values)]

    @property
    def name_range(self) -> tuple[float, float]:
        """The lower and the upper end of the axis of intervals, on which the first name stands at 0, above the others."""
        return len(self.names) - 0.5, -0.5 - (0.0 if self.level is None else NAME_OF_LEVEL)

    def places(self, mark: ByName) -> Values:
        """Tell where each bar or interval of a mark stands along that axis. Of several intervals the first is a little higher."""
        own = [str(name) for name in mark.names]
        at = np.arange(len(own)) if own == self.names else np.array([self.names.index(name) for name in own])
        beside = [other for other in self.marks if isinstance(other, Intervals)]
        if len(beside) < 2 or isinstance(mark, Bars):
            return at
        place = next(place for place, other in enumerate(beside) if other is mark)
        return at + (place - (len(beside) - 1) / 2) * min(APART, 0.8 / len(beside))
