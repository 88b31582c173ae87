"""The description of a figure: what is drawn, not how. `screen` draws it with plotly, `print` with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from .marks import Bars, ByName, Heatmap, Histogram, Intervals, Line, Mark, Points, Ranges
from .palette import REFERENCE, color
from .panel import EVERY, SHARE, Panel

__all__ = [  # of one place to import from, for whoever draws a figure
    "EVERY",
    "SHARE",
    "Bars",
    "ByName",
    "Figure",
    "Heatmap",
    "Histogram",
    "Intervals",
    "Line",
    "Mark",
    "Panel",
    "Points",
    "Ranges",
    "Series",
]

NAMES_IN_A_PANEL = 14


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
