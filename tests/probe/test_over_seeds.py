"""Several seeds of a result as one: their mean, and an interval that ends where the quantity does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from statescope.probe.results.figure import EVERY, SHARE, Bars, Figure, Line, Panel, Ranges
from statescope.probe.results.over_seeds import over_seeds
from statescope.probe.results.result import Result
from statescope.probe.statistics.metrics import METRICS
from statescope.probe.statistics.scores import BOUNDS


@dataclass(frozen=True)
class Shares(Result, kind="shares-of-a-test"):
    """A curve and bars of what lies between 0 and 1, and the curve as what may be any number."""

    columns: ClassVar[dict[str, str]] = {"x": "place", "y": "share"}

    def summary(self) -> str:
        return "shares"

    def specification(self) -> Figure:
        x, y = (self.table[name].to_numpy(float) for name in ("x", "y"))
        bars = Bars([str(place) for place in x], y, "bars")
        return Figure("", [Panel([Line(x, y, "line"), bars], "x", "share", bounds=SHARE), Panel([Line(x, y, "line")], "x", "y")])


@pytest.mark.parametrize("values", [(0.98, 1.0), (0.0, 0.03), (0.4, 0.6, 0.5)])
def test_an_interval_of_shares_ends_at_0_and_1_and_holds_the_mean(values: tuple[float, ...]) -> None:
    parts = {seed: Shares(pd.DataFrame({"x": [0.0, 1.0], "y": [value, 0.5]})) for seed, value in enumerate(values)}
    bounded, free = over_seeds(parts).specification().panels
    assert bounded.bounds == SHARE and free.bounds == EVERY
    for mark in bounded.marks:
        drawn = mark.y if isinstance(mark, Line) else mark.values
        assert 0 <= mark.low[0] <= drawn[0] <= mark.high[0] <= 1
        np.testing.assert_allclose(drawn[0], np.mean(values))
        np.testing.assert_allclose([mark.low[0], mark.high[0]], np.clip([free.marks[0].low[0], free.marks[0].high[0]], 0, 1))
    assert len(values) > 2 or free.marks[0].low[0] < 0 or free.marks[0].high[0] > 1, "Student's interval itself is wider"


def test_every_metric_of_a_probe_says_what_it_can_be() -> None:
    assert set(BOUNDS) == {metric.name for metric in METRICS.values()}


@dataclass(frozen=True)
class Bounds(Result, kind="bounds-of-a-test"):
    """The least and the largest."""

    title: ClassVar[str] = "Bounds"
    columns: ClassVar[dict[str, str]] = {"name": "of what", "low": "the least", "high": "the largest"}

    def summary(self) -> str:
        return "bounds"

    def specification(self) -> Figure:
        ends = (self.table[end].to_numpy() for end in ("low", "high"))
        return Figure("Bounds", [Panel([Ranges.between(self.table["name"].tolist(), *ends)], "number", "")])


def test_a_range_over_seeds_holds_that_of_each() -> None:
    ends = {0: [(-1.0, 0.5), (0.0, 1.0)], 1: [(-0.5, 0.75), (0.25, 2.0)]}
    joined = over_seeds(
        {
            seed: Bounds(pd.DataFrame({"name": ["a", "b"], "low": [a[0], b[0]], "high": [a[1], b[1]]}), {})
            for seed, (a, b) in ends.items()
        }
    )
    frame = joined.specification().panels[0].marks[0].to_frame()
    assert frame[["low", "high"]].to_numpy().tolist() == [[-1.0, 0.75], [0.0, 2.0]] and "value" not in frame
