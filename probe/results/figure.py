"""The description of a figure: what is drawn, not how. `screen` draws it with plotly, `print` with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...kernels.shown import with_shapes
from .palette import REFERENCE, color, whole_numbers
from .ticks import ticks_at_choices, ticks_between_powers

Values = NDArray[Any]
ROUNDING = 1e-9  # by which a mean may leave the numbers that it is of, beside 1 or itself
EVERY, SHARE = (-math.inf, math.inf), (0.0, 1.0)  # bounds: of any number; of an accuracy, a probability, a share


@dataclass(frozen=True)
class Line:
    """A curve y(x), with a band between low and high.

    dashed: for what serves as a reference, which is grey. beside: the label of what it is a reference for, whose colour it then
        has; a figure with several references names that of each, so that they can be told apart.
    """

    x: Values
    y: Values
    label: str = ""
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False
    markers: bool = False
    beside: str = ""

    __repr__ = with_shapes

    @classmethod
    def of_rows(
        cls, rows: pd.DataFrame, x: str, y: str, label: str, *, centre: Literal["mean", "median"] = "mean", markers: bool = False
    ) -> Line:
        """The mean, or the median, of the column y over the rows that share an x, between the least and the largest of them."""
        by = rows.groupby(x)[y]
        middle, low, high = (by.agg(how).to_numpy() for how in (centre, "min", "max"))
        return cls(np.asarray(sorted(by.groups)), middle, label, low, high, markers=markers)

    def to_frame(self) -> pd.DataFrame:
        """Its numbers, one row a point."""
        return pd.DataFrame({"series": self.label, "x": self.x, "y": self.y, **_interval(self)})


@dataclass(frozen=True)
class Points:
    """A cloud of points. color: a number for each point, named by color_label. text: shown when pointed at."""

    x: Values
    y: Values
    label: str = ""
    color: Values | None = None
    color_label: str = ""
    text: Sequence[str] | None = None
    joined: bool = False

    __repr__ = with_shapes

    @property
    def steps(self) -> tuple[int, int] | None:
        """The least and the largest of a few whole numbers, which have a colour each; None where the scale is continuous."""
        return None if self.color is None else whole_numbers(self.color)

    def to_frame(self) -> pd.DataFrame:
        """Its numbers, one row a point."""
        tint = {} if self.color is None else {"color": self.color}
        return pd.DataFrame({"series": self.label, "x": self.x, "y": self.y, **tint})


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of common edges."""

    edges: Values
    counts: Values
    label: str = ""

    __repr__ = with_shapes

    def to_frame(self) -> pd.DataFrame:
        """Its numbers, one row a bin."""
        return pd.DataFrame({"series": self.label, "from": self.edges[:-1], "to": self.edges[1:], "y": self.counts})


@dataclass(frozen=True)
class ByName:
    """A value for each name, with an interval between low and high."""

    names: Sequence[str]
    values: Values
    label: str = ""
    low: Values | None = None
    high: Values | None = None

    __repr__ = with_shapes

    @property
    def reach(self) -> tuple[Values, Values] | None:
        """How far each interval goes below its value and above it; None without intervals.

        A mean of equal numbers may be rounded past the largest of them, which counts as 0. Raises ValueError for a value that
        lies outside of its interval by more than rounding: it would be drawn where it is not.
        """
        if self.low is None or self.high is None:
            return None
        below, above = (np.asarray(side, float) for side in (self.values - self.low, self.high - self.values))
        rounding = ROUNDING * np.maximum(1.0, np.abs(np.asarray(self.values, float)))
        outside = np.flatnonzero((below < -rounding) | (above < -rounding))
        if outside.size:
            place = int(outside[0])
            raise ValueError(
                f"{self.names[place]}: the value {self.values[place]:g} lies outside of its interval, "
                f"{self.low[place]:g} to {self.high[place]:g}"
            )
        return below.clip(0.0), above.clip(0.0)

    def to_frame(self) -> pd.DataFrame:
        """Its numbers, one row a name."""
        return pd.DataFrame(
            {"series": self.label, "name": [str(name) for name in self.names], "value": self.values, **_interval(self)}
        )


class Bars(ByName):
    """One upright bar for each name."""


class Intervals(ByName):
    """One row for each name: its value and interval are drawn from left to right, the first name on top."""


class Ranges(Intervals):
    """One row for each name: the stretch from the least to the largest of many numbers, of which none stands for all. It is
    drawn with its two ends and without a value, which a reader would take for a measured one; `values` is nan.
    """

    @classmethod
    def between(cls, names: Sequence[str], low: Values, high: Values, label: str = "") -> Ranges:
        """The ranges from `low` to `high`, [N] each; a range of which an end is nan is not drawn."""
        return cls(names, np.full(len(names), np.nan), label, low, high)

    @property
    def ends(self) -> Values:
        """The places of both ends of each range along the numbers, and nan behind them, where the line is lifted: [3 N]."""
        return np.column_stack([np.asarray(self.low, float), np.asarray(self.high, float), self.values]).ravel()

    def to_frame(self) -> pd.DataFrame:
        return super().to_frame().drop(columns="value")


@dataclass(frozen=True)
class Heatmap:
    """A matrix as colours; rows downward. diverging: colours are symmetric about 0. limits: of the colours, where several
    matrices are to share them; None leaves them to the values.
    """

    values: Values
    rows: Sequence[str]
    columns: Sequence[str]
    label: str = ""
    diverging: bool = False
    limits: tuple[float, float] | None = None

    __repr__ = with_shapes

    @property
    def scale(self) -> tuple[float, float] | None:
        """The least and the largest number that has a colour of its own; None for those of the values."""
        if self.limits is not None or not self.diverging:
            return self.limits
        known = np.abs(self.values[np.isfinite(self.values)])
        reach = float(known.max(initial=0.0)) or 1.0
        return -reach, reach

    @property
    def steps(self) -> tuple[int, int] | None:
        """The least and the largest of a few whole numbers, which have a colour each; None where the scale is continuous."""
        return whole_numbers(self.values) if self.scale is None else None

    def to_frame(self) -> pd.DataFrame:
        """Its numbers, one row a cell."""
        row, column = np.indices(self.values.shape)
        names = {"row": np.asarray(self.rows, str)[row.ravel()], "column": np.asarray(self.columns, str)[column.ravel()]}
        return pd.DataFrame({"series": self.label, **names, "value": self.values.ravel()})


def _interval(mark: Line | ByName) -> dict[str, Values]:
    return {} if mark.low is None or mark.high is None else {"low": mark.low, "high": mark.high}


ONE = 1e-6  # of their size: numbers that differ by less are one but for rounding
MOST_COUNTED = 10
NAMES_IN_A_PANEL = 14
NAME_OF_LEVEL = 0.9  # of the height of a name, above the first: there the name of a level stands
ROOM_ABOVE = 0.16  # of what curves span: the room above a level for its name
APART = 0.16  # of the height of a name, between two intervals of it
Mark = Line | Points | Histogram | Bars | Intervals | Ranges | Heatmap


def _has_numbers(mark: Mark) -> bool:
    if isinstance(mark, Line | Points):
        values = np.asarray(mark.y)
    elif isinstance(mark, Histogram):
        values = np.asarray(mark.counts)
    else:
        values = mark.ends if isinstance(mark, Ranges) else np.asarray(mark.values)
    return values.size == 0 or not np.isnan(values.astype(float)).all()


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
        object.__setattr__(self, "marks", [mark for mark in self.marks if _has_numbers(mark)])
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


class Series(NamedTuple):
    """What all marks of one label have in common. number: of the label in the figure, from 0."""

    number: int
    color: str


@dataclass(frozen=True)
class Figure:
    """Panels in a grid, read row by row. alt: the figure in a sentence, for those who cannot see it."""

    title: str
    panels: Sequence[Panel]
    columns: int = 2
    alt: str = ""
    caption: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def series(self) -> dict[str, Series]:
        """The number and the colour of each label, in the order of the marks. Intervals of a reference's name have its colour."""
        marks = [mark for panel in self.panels for mark in panel.marks]
        labels = list(dict.fromkeys(mark.label for mark in marks))
        references = {mark.label: mark.beside for mark in marks if isinstance(mark, Line) and mark.dashed}
        own = {label: color(number) for number, label in enumerate(labels) if label not in references}
        tints = own | {label: own.get(beside, REFERENCE) for label, beside in references.items()}
        return {label: Series(number, tints[label]) for number, label in enumerate(labels)}

    def color_bars(self, columns: int) -> list[list[int]]:
        """The panels of heat maps that a colour bar stands beside in a grid of so many columns: those of the same limits, colours
        and unit; where another panel stands among them, those of each row have a bar of their own, which else would cover it.
        """
        found: dict[object, list[int]] = {}
        for place, panel in enumerate(self.panels):
            for mark in panel.marks:
                if isinstance(mark, Heatmap):
                    alike = place if mark.limits is None else (mark.limits, mark.diverging, mark.label)
                    found.setdefault(alike, []).append(place)
        return [own for places in found.values() for own in self._without_others(places, columns)]

    def _without_others(self, places: Sequence[int], columns: int) -> list[list[int]]:
        """Panels together, where no other is in the rectangle about them, else row by row."""
        rows, across = [place // columns for place in places], [place % columns for place in places]
        within = {
            row * columns + column for row in range(min(rows), max(rows) + 1) for column in range(min(across), max(across) + 1)
        }
        if within & set(range(len(self.panels))) <= set(places):
            return [list(places)]
        return [[place for place in places if place // columns == row] for row in dict.fromkeys(rows)]

    @property
    def stretch(self) -> float:
        """How much taller than usual the panels are, so that each name of a list of intervals has its line."""
        names = [len(mark.names) for panel in self.panels for mark in panel.marks if isinstance(mark, Intervals)]
        return max(1.0, max(names, default=0) / NAMES_IN_A_PANEL)

    def to_frame(self) -> pd.DataFrame:
        """Every drawn number, one row a point: panel, series, and x and y of curves and points, name and value of bars and
        intervals, from, to and y of histograms, row, column and value of heat maps; low and high where there is an interval.
        """
        rows = [mark.to_frame().assign(panel=panel.title or panel.y_label) for panel in self.panels for mark in panel.marks]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
