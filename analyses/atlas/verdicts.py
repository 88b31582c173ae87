"""The verdicts on a claim, as the result of its run. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...probe.results.figure import Figure, Intervals, Panel
from ...probe.results.result import Result
from ...probe.runs.run import Run
from .measurement import Measurement, Scope, Verdict, weakest
from .stored import NAME, NUMBERS, WORDS, Damaged, check, in_folder


@dataclass(frozen=True)
class Verdicts(Result, kind="verdicts"):
    """One row a number. `about`: paper, claim, statement, scope, seeds, note.

    Raises ValueError for what is no verdict: another word than the three, a number that is not finite, an `about` that lacks
    one of these.
    """

    title: ClassVar[str] = "What was expected, and what was found"
    columns: ClassVar[dict[str, str]] = {
        "what": "what was measured",
        "unit": "of the number",
        "relation": "at least, at most, equals",
        "expected": "what the paper lets expect",
        "tolerance": "how far from it still holds",
        "over": "what is judged: every seed, or the mean over seeds",
        "found": "the mean over seeds",
        "low": "lower end: of the 95% interval of the mean where that is judged, else the least value",
        "high": "upper end",
        "verdict": "holds, does not reproduce, inconclusive",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check({name: self.table[name].tolist() for name in (*WORDS, *NUMBERS)}, self.about)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the whole claim, which is the weakest that one of its numbers has."""
        return weakest(list(self.table["verdict"]))

    def summary(self) -> str:
        seeds = f"{len(self.about['seeds'])} seeds"
        lines = [f"{self.about['paper']}, {self.about['scope']}, {seeds}: {self.verdict}. {self.about['statement']}"]
        for row, measurement in zip(self.table.itertuples(), self.measurements, strict=True):
            lines.append(f"{row.what}: {row.found:.4g} [{row.low:.4g}, {row.high:.4g}], {measurement}: {row.verdict}")
        return "\n".join(lines)

    @property
    def measurements(self) -> list[Measurement]:
        """What was expected, row by row."""
        rows = self.table.itertuples()
        return [Measurement(row.what, row.relation, row.expected, row.tolerance, row.unit, row.over) for row in rows]

    def specification(self) -> Figure:
        """One panel a unit: each number with its interval, the threshold beside it, and the verdict in its name."""
        return Figure(self.title, [_panel(str(unit), own) for unit, own in self.table.groupby("unit", sort=False)], columns=1)


def _panel(unit: str, rows: pd.DataFrame) -> Panel:
    names = [f"{row.what}: {row.verdict}" for row in rows.itertuples()]
    found, low, high, expected = (rows[name].to_numpy(float) for name in ("found", "low", "high", "expected"))
    logarithmic = bool((np.concatenate([low, expected]) > 0).all() and (expected.max() > 30 * found.min()))
    marks = [Intervals(names, found, "found", low, high), Intervals(names, expected, "threshold")]
    return Panel(marks, unit, "", x_log=logarithmic)


def verdicts_of(
    measurements: tuple[Measurement, ...], numbers: Mapping[int, Mapping[str, float]], scope: Scope, about: Mapping[str, Any]
) -> Verdicts:
    """The verdicts on numbers found: seed -> what -> value. Raises KeyError for one that was not measured, and ValueError for one
    that is not finite.
    """
    rows = []
    for measurement in (one.under(scope) for one in measurements):
        values = [_finite(own, measurement.what) for own in numbers.values()]
        low, high = measurement.interval(values)
        expected = (measurement.relation, measurement.expected, measurement.tolerance, measurement.over)
        found = min(max(float(np.mean(values)), low), high)  # rounding may put the mean of equal values beside them
        rows.append((measurement.what, measurement.unit, *expected, found, low, high, measurement.judge(low, high)))
    return Verdicts(pd.DataFrame(rows, columns=list(Verdicts.columns)), dict(about) | {"scope": scope, "seeds": list(numbers)})


def _finite(numbers: Mapping[str, float], what: str) -> float:
    if what not in numbers:
        raise KeyError(f"{what!r} was not measured; measured were {', '.join(numbers)}")
    if not np.isfinite(numbers[what]):
        raise ValueError(f"{what!r} is {numbers[what]}, of which there is no verdict")
    return numbers[what]


def stored_verdicts(folder: Path) -> tuple[dict[str, tuple[Verdicts, Path]], list[Damaged]]:
    """The verdicts there are in the run folders of `folder`: claim -> its verdicts and its run, the newest of each claim; and
    those that cannot be shown, which hide no other. Each file is compared with its digest before it is read.
    """
    found, damaged = in_folder(folder, _verdicts_in)
    return {verdicts.about["claim"]: (verdicts, path) for verdicts, path in found}, damaged


def _verdicts_in(run: Run) -> Verdicts:
    return Verdicts.load(run.result_file(NAME))
