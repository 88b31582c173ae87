"""What stands in a panel: curves, clouds, bars, ranges and maps, with the numbers that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...kernels.shown import with_shapes
from .palette import whole_numbers

Values = NDArray[Any]
ROUNDING = 1e-9  # by which a mean may leave the numbers that it is of, beside 1 or itself


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


Mark = Line | Points | Histogram | Bars | Intervals | Ranges | Heatmap


def has_numbers(mark: Mark) -> bool:
    """Whether some number of a mark is known; of one without any numbers too."""
    if isinstance(mark, Line | Points):
        values = np.asarray(mark.y)
    elif isinstance(mark, Histogram):
        values = np.asarray(mark.counts)
    else:
        values = mark.ends if isinstance(mark, Ranges) else np.asarray(mark.values)
    return values.size == 0 or not np.isnan(values.astype(float)).all()
