"""One number that a claim stands on: what the paper lets expect, and the verdict on what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np

Verdict = Literal["holds", "does not reproduce", "inconclusive"]
Relation = Literal["at least", "at most", "equals"]
Over = Literal["every seed", "the mean"]


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
    over: what is judged. "every seed": each value alone, so that one seed which breaks the bound refutes it, as one
        counterexample refutes a theorem. "the mean": the mean over seeds, which lies in an interval. None: as the claim's scope
        has it, see `under`.
    """

    what: str
    relation: Relation
    expected: float
    tolerance: float = 0.0
    unit: str = "relative error"
    over: Over | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The numbers that hold lie between these, both included."""
        low = -np.inf if self.relation == "at most" else self.expected - self.tolerance
        high = np.inf if self.relation == "at least" else self.expected + self.tolerance
        return low, high

    def under(self, scope: Scope) -> Measurement:
        """The same, with what is judged made out: of what is trained papers state the mean, of all else each draw has to hold."""
        return self if self.over else replace(self, over="the mean" if scope == Scope.TRAINED else "every seed")

    def interval(self, values: Sequence[float]) -> tuple[float, float]:
        """Tell where a number lies, from its values for several seeds: the 95% interval of their mean by Student's t; or, where
        every seed is judged, the least and the largest of them.
        """
        x = np.asarray(values, dtype=float)
        if self.over == "every seed" or len(x) < 2:
            return float(x.min()), float(x.max())
        from ...probe.results.intervals import mean_and_reach  # who reads stored verdicts waits for no tables

        mean, reach = mean_and_reach(x)
        return float(mean - reach), float(mean + reach)

    def judge(self, low: float, high: float) -> Verdict:
        """The verdict on an interval. It holds where all of it lies within the bounds. A mean does not reproduce where none of
        its interval does, and is inconclusive between them; what has to hold in every seed does not reproduce where one fails.
        """
        least, most = self.bounds
        if least <= low and high <= most:
            return "holds"
        return "does not reproduce" if self.over == "every seed" or high < least or most < low else "inconclusive"

    def __str__(self) -> str:
        expected = f"{self.relation} {self.expected:.4g}" + (f" ± {self.tolerance:.2g}" if self.tolerance else "")
        return f"{expected} on average" if self.over == "the mean" else expected


def at_most(what: str, expected: float, unit: str = "relative error") -> Measurement:
    return Measurement(what, "at most", expected, unit=unit)


def at_least(what: str, expected: float, unit: str = "share") -> Measurement:
    return Measurement(what, "at least", expected, unit=unit)


def equals(what: str, expected: float, tolerance: float = 0.0, unit: str = "number") -> Measurement:
    return Measurement(what, "equals", expected, tolerance, unit)


def in_every_seed(measurement: Measurement) -> Measurement:
    """Judge every seed alone, for what holds by proof whatever is learned: an exact count, or a bound that the equations set."""
    return replace(measurement, over="every seed")


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a whole of several parts: it holds if all do, and does not reproduce if one does not."""
    order: tuple[Verdict, ...] = ("does not reproduce", "inconclusive", "holds")
    return min(verdicts, key=order.index)
