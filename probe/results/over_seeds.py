"""A result of several seeds: all their rows in one table, and their figures as one, with means and intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .figure import ByName, Figure, Line, Mark, Panel, Ranges
from .intervals import mean_and_reach
from .joined import join, part_of
from .result import Result


@dataclass(frozen=True)
class OverSeeds(Result, kind="over_seeds"):
    """The rows of one result for each seed, with the column `seed`; `about` holds the kind and what each seed's result says.

    Its figure is that of the kind. Where a curve, a bar or an interval stands at the same places for every seed, it is drawn as
    the mean over seeds with the 95% interval of Student's t; what differs from seed to seed, such as a cloud of points, is drawn
    of the first seed, and the caption says so. Of two or three seeds Student's interval is so wide that it may reach beyond what
    a quantity can be; it ends at the bounds that the panel names, such as 0 and 1 of an accuracy. The mean lies between them
    always, so that the interval covers no less for it.
    """

    title: ClassVar[str] = "Over seeds"
    columns: ClassVar[dict[str, str]] = {"seed": "of the row"}

    @property
    def seeds(self) -> list[int]:
        """The seeds that were joined, in their order."""
        return [int(seed) for seed in self.table["seed"].drop_duplicates()]

    def of_seed(self, seed: int) -> Result:
        """The result of one seed. Raises UnknownNameError for a seed that is not there."""
        return part_of(self, "seed", seed)

    def summary(self) -> str:
        return "\n".join(f"seed {seed}: {line}" for seed in self.seeds for line in self.of_seed(seed).summary().split("\n"))

    def specification(self) -> Figure:
        figures = [self.of_seed(seed).specification() for seed in self.seeds]
        panels, single = [], False
        for index, panel in enumerate(figures[0].panels):
            others = [figure.panels[index] for figure in figures if len(figure.panels) > index]
            marks = [_mean(mark, [_same(mark, other) for other in others], panel.bounds) for mark in panel.marks]
            single |= any(mark is None for mark in marks)
            kept = [own if mark is None else mark for own, mark in zip(panel.marks, marks, strict=True)]
            panels.append(_without_range(replace(panel, marks=kept)))
        said = f"mean and 95% interval over {len(figures)} seeds" + (f"; points are of seed {self.seeds[0]}" if single else "")
        return replace(figures[0], panels=panels, caption=said, alt=self.summary())


def over_seeds(results: Mapping[int, Result]) -> OverSeeds:
    """One result of several: seed -> result, all of one kind. Raises ValueError for several kinds, or for none."""
    return OverSeeds(*join(results, "seed"))


def _same(mark: Mark, panel: Panel) -> Mark | None:
    """The mark of another seed's panel with the same kind and label."""
    found = [other for other in panel.marks if type(other) is type(mark) and other.label == mark.label]
    return found[0] if len(found) == 1 else None


def _mean(mark: Mark, others: Sequence[Mark | None], bounds: tuple[float, float]) -> Mark | None:
    """The mean of a mark over seeds with its interval, and of a range the one that holds those of all seeds; None where it does
    not stand at the same places for every seed.
    """
    if isinstance(mark, Line):
        lines = [other for other in others if isinstance(other, Line) and np.array_equal(other.x, mark.x)]
        if len(lines) == len(others) and not mark.dashed:
            mean, low, high = _interval([line.y for line in lines], bounds)
            return replace(mark, y=mean, low=low, high=high)
        return mark if mark.dashed else None
    if isinstance(mark, ByName):
        alike = [other for other in others if isinstance(other, ByName) and list(other.names) == list(mark.names)]
        if len(alike) < len(others):
            return None
        if isinstance(mark, Ranges):
            frames = [own.to_frame() for own in alike]
            low, high = np.min([own["low"] for own in frames], axis=0), np.max([own["high"] for own in frames], axis=0)
            return replace(mark, low=low, high=high)
        mean, low, high = _interval([own.values for own in alike], bounds)
        return replace(mark, values=mean, low=low, high=high)
    return None


def _interval(values: Sequence[Any], bounds: tuple[float, float]) -> tuple[Any, Any, Any]:
    """Mean and interval over seeds, which ends at the bounds of the quantity; of one seed, the value alone."""
    mean, reach = mean_and_reach(np.stack(values))
    return (
        (mean, None, None)
        if len(values) < 2
        else (mean, np.maximum(mean - reach, bounds[0]), np.minimum(mean + reach, bounds[1]))
    )


def _without_range(panel: Panel) -> Panel:
    """A panel whose vertical axis follows the data: a range chosen for one seed would cut others off."""
    return replace(panel, y_range=None)
