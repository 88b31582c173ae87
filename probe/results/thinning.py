"""Of more points than a browser can draw, those that are drawn; the panel says how many that are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .figure import Figure, Line, Mark, Panel, Points

MOST_POINTS = 20_000  # of one curve or cloud: drawn as elements of the page, and not as a bitmap


def thinned(figure: Figure, most: int = MOST_POINTS) -> Figure:
    """The figure with at most so many points in each curve and cloud; the titles of panels say what was left out.

    Of a cloud the points stand evenly in their order. Of a curve each stretch keeps its least and its largest value, so that no
    peak is lost. The table, the data that is exported and the printed figure have all points.
    """
    return replace(figure, panels=[_of_panel(panel, most) for panel in figure.panels])


def _of_panel(panel: Panel, most: int) -> Panel:
    large = [mark for mark in panel.marks if isinstance(mark, Line | Points) and len(mark.x) > most]
    if not large:
        return panel
    marks = [_thin(mark, most) if any(mark is one for one in large) else mark for mark in panel.marks]
    count = sum(len(mark.x) for mark in large)
    said = f"{most * len(large):,} of {count:,} points drawn"
    return replace(panel, marks=marks, title=f"{panel.title} ({said})".strip())


def _thin(mark: Mark, most: int) -> Mark:
    if isinstance(mark, Points):
        kept = np.linspace(0, len(mark.x) - 1, most).round().astype(int)
        tint = None if mark.color is None else mark.color[kept]
        text = None if mark.text is None else [mark.text[index] for index in kept]
        return replace(mark, x=mark.x[kept], y=mark.y[kept], color=tint, text=text)
    assert isinstance(mark, Line)
    kept = _peaks(mark.y, most)
    low, high = (None if end is None else end[kept] for end in (mark.low, mark.high))
    return replace(mark, x=mark.x[kept], y=mark.y[kept], low=low, high=high)


def _peaks(values: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """The places of the least and the largest value of each of most / 2 stretches, [most], in their order.

    What is not known is neither, so that a stretch shows a gap only where it knows nothing.
    """
    unknown = np.isnan(values)
    picks = ((np.argmin, np.where(unknown, np.inf, values)), (np.argmax, np.where(unknown, -np.inf, values)))
    stretches = np.array_split(np.arange(len(values)), most // 2)
    return np.sort([stretch[pick(filled[stretch])] for stretch in stretches for pick, filled in picks])
