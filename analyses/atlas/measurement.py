"""One number that a claim stands on: what the paper lets expect, and the verdict on what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["holds", "does not reproduce", "inconclusive"]
Relation = Literal["at least", "at most", "equals"]


class Scope(StrEnum):
    """What stands behind a claim's verdict.

    identity: two ways to compute one thing agree, on drawn numbers. construction: weights set by hand do what the paper says is
    possible. trained: models learn it here, at a small size. absent: nothing here measures it.
    """

    IDENTITY = "identity"
    CONSTRUCTION = "construction"
    TRAINED = "trained"
    ABSENT = "absent"


@dataclass(frozen=True)
class Measurement:
    """What a number must be for its claim to hold: at least (at most) `expected`, or equal to it within `tolerance`.

    what: its name, under which the experiment reports it. unit: of the number; a figure has one axis a unit.
    """

    what: str
    relation: Relation
    expected: float
    tolerance: float = 0.0
    unit: str = "relative error"

    @property
    def bounds(self) -> tuple[float, float]:
        """The numbers that hold lie between these, both included."""
        low = -np.inf if self.relation == "at most" else self.expected - self.tolerance
        high = np.inf if self.relation == "at least" else self.expected + self.tolerance
        return low, high

    def judge(self, low: float, high: float) -> Verdict:
        """The verdict on an interval: it holds where all of it lies within the bounds, and does not reproduce where none does."""
        least, most = self.bounds
        if least <= low and high <= most:
            return "holds"
        return "does not reproduce" if high < least or most < low else "inconclusive"

    def __str__(self) -> str:
        return f"{self.relation} {self.expected:.4g}" + (f" ± {self.tolerance:.2g}" if self.tolerance else "")


def at_most(what: str, expected: float, unit: str = "relative error") -> Measurement:
    return Measurement(what, "at most", expected, unit=unit)


def at_least(what: str, expected: float, unit: str = "share") -> Measurement:
    return Measurement(what, "at least", expected, unit=unit)


def equals(what: str, expected: float, tolerance: float = 0.0, unit: str = "number") -> Measurement:
    return Measurement(what, "equals", expected, tolerance, unit)


def interval(values: Sequence[float], scope: Scope) -> tuple[float, float]:
    """Tell where a number lies, from its values for several seeds.

    What is trained varies from seed to seed, and a paper speaks of the mean: its 95% interval by Student's t. An identity or a
    construction has to hold for every draw: the least and the largest value.
    """
    x = np.asarray(values, dtype=float)
    if scope != Scope.TRAINED or len(x) < 2:
        return float(x.min()), float(x.max())
    reach = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5)
    return float(x.mean()) - reach, float(x.mean()) + reach


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a whole of several parts: it holds if all do, and does not reproduce if one does not."""
    order: tuple[Verdict, ...] = ("does not reproduce", "inconclusive", "holds")
    return min(verdicts, key=order.index)
