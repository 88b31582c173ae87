"""What an experiment found: numbers, and curves to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import numpy as np
import pandas as pd

from ...probe.results.figure import Figure, Intervals, Line, Panel
from ...probe.results.result import Result

Series = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Axes:
    """The axes of one panel of curves, under its title."""

    title: str
    x_label: str
    y_label: str
    x_log: bool = False
    y_log: bool = False


@dataclass
class Findings:
    """What was found. numbers: what was measured -> its value. curves: (panel, series) -> x and y. units: of numbers. results:
    of their own kinds, such as a heat map, by their names.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[tuple[str, str], Series] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    def put(self, what: str, value: float, unit: str) -> float:
        """Note a number with its unit, and give it back."""
        self.numbers[what], self.units[what] = value, unit
        return value


@dataclass(frozen=True)
class Numbers(Result, kind="numbers"):
    """A table of numbers, each of which says what was measured and in which unit."""

    title: ClassVar[str] = "What was measured"
    columns: ClassVar[dict[str, str]] = {"what": "what was measured", "value": "the number", "unit": "of the number"}

    def as_dict(self) -> dict[str, float]:
        """What was measured -> its value."""
        return dict(zip(self.table["what"], self.table["value"].astype(float), strict=True))

    def summary(self) -> str:
        return "\n".join(f"{row.what}: {row.value:.4g}" for row in self.table.itertuples())

    def specification(self) -> Figure:
        """Draw one panel for each unit."""
        panels = [_panel_of(str(unit), own) for unit, own in self.table.groupby("unit", sort=False)]
        return Figure(self.title, panels, columns=1, alt=self.summary())


def _panel_of(unit: str, rows: pd.DataFrame) -> Panel:
    values = rows["value"].to_numpy(float)
    names = [f"{row.what} = {row.value:.4g}" for row in rows.itertuples()]
    return Panel([Intervals(names, values)], unit, "", x_log=bool((values > 0).all() and values.max() > 30 * values.min()))


@dataclass(frozen=True)
class Curves(Result, kind="curves"):
    """Curves in panels; `about["axes"]` has the axes of each."""

    title: ClassVar[str] = "Curves"
    columns: ClassVar[dict[str, str]] = {"panel": "title of the panel", "series": "the curve", "x": "", "y": ""}

    def summary(self) -> str:
        ends = self.table.groupby(["panel", "series"], sort=False).last()
        return "\n".join(f"{panel}: {series} ends at {row.y:.4g} for {row.x:g}" for (panel, series), row in ends.iterrows())

    def specification(self) -> Figure:
        panels = []
        for title, own in self.table.groupby("panel", sort=False):
            lines = [Line(one["x"].to_numpy(), one["y"].to_numpy(), str(name)) for name, one in own.groupby("series", sort=False)]
            axes = Axes(**self.about["axes"][title])
            panels.append(Panel(lines, axes.x_label, axes.y_label, axes.title, axes.x_log, axes.y_log))
        if len(panels) == 1:
            return Figure(panels[0].title.capitalize(), [replace(panels[0], title="")], columns=1, alt=self.summary())
        return Figure(self.title, panels, alt=self.summary())


def numbers_of(numbers: Mapping[str, float], units: Mapping[str, str]) -> Numbers:
    """Make the table of numbers. units: what was measured -> its unit; "number" for what it leaves out."""
    own = [units.get(what, "number") for what in numbers]
    return Numbers(pd.DataFrame({"what": list(numbers), "value": [float(x) for x in numbers.values()], "unit": own}))


def curves_of(curves: Mapping[tuple[str, str], Series], panels: Sequence[Axes]) -> Curves:
    """Make the table of curves. panels: the axes of each panel that the curves name."""
    parts = [
        pd.DataFrame({"panel": panel, "series": series, "x": np.asarray(x, float), "y": np.asarray(y, float)})
        for (panel, series), (x, y) in curves.items()
    ]
    return Curves(pd.concat(parts, ignore_index=True), {"axes": {axes.title: asdict(axes) for axes in panels}})
