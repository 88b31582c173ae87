"""A result of several steps of training: all their rows in one table, and each of their numbers against the step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import ClassVar

import pandas as pd

from .figure import Figure, Line, Panel
from .intervals import line_of_quartiles
from .joined import join, part_of
from .result import Result

GROUPS = ("layer", "place")  # columns that tell curves apart, the first of them that a result has
PLACES = ("model", "layer", "head", "sequence", "position", "token", "place")  # columns that say where a number was measured
ENDS = ("low", "high", "residual")  # columns that say how sure another is
MOST_PANELS, MOST_CURVES = 6, 8


@dataclass(frozen=True)
class OverSteps(Result, kind="over_steps"):
    """The rows of one result for each of several steps, with the column `step`; `about` holds the kind and what each result says.

    Its figure has a panel for each number that the kind measures: the middle of all rows at each step, with the quartiles.
    """

    title: ClassVar[str] = "Over training"
    columns: ClassVar[dict[str, str]] = {"step": "steps of training that were done"}

    @property
    def steps(self) -> list[int]:
        """The steps that were joined, in ascending order."""
        return sorted(int(step) for step in self.table["step"].unique())

    def at(self, step: int) -> Result:
        """The result of one step. Raises UnknownNameError for a step that is not there."""
        return part_of(self, "step", step)

    @property
    def numbers(self) -> list[str]:
        """The columns that hold what the kind measures, in its order."""
        own = Result.of_kind(self.about["kind"])
        places = {*PLACES, *ENDS, *(own.selected_by or ())}
        return [name for name in own.columns if name not in places and pd.api.types.is_numeric_dtype(self.table[name])]

    def summary(self) -> str:
        ends = ((step, self.at(step).summary()) for step in dict.fromkeys((self.steps[0], self.steps[-1])))
        return "\n".join(f"step {step}: {line}" for step, said in ends for line in said.split("\n"))

    def specification(self) -> Figure:
        meanings = Result.of_kind(self.about["kind"]).columns
        panels = [
            Panel(self._curves(name), "training step", _in_short(meanings[name]), title=name.replace("_", " "))
            for name in self.numbers[:MOST_PANELS]
        ]
        what = Result.of_kind(self.about["kind"]).title
        alt = f"{what} at {len(self.steps)} steps of training, from {self.steps[0]} to {self.steps[-1]}."
        return Figure(
            f"{what} over training", panels, alt=alt, caption="The middle of all rows at each step, with the quartiles."
        )

    def _curves(self, column: str) -> list[Line]:
        group = next((name for name in GROUPS if name in self.table.columns), None)
        if group is None:
            return [line_of_quartiles(self.table, "step", column, "", markers=True)]
        parts = list(self.table.groupby(group, sort=True))[:MOST_CURVES]
        return [line_of_quartiles(own, "step", column, f"{group} {value}", markers=True) for value, own in parts]


def _in_short(meaning: str) -> str:
    """What a column holds, as the title of an axis."""
    return shorten(re.split("[,;:(]", meaning)[0].strip(), 36, placeholder=" …")


def over_steps(results: Mapping[int, Result]) -> OverSteps:
    """Join the results of several steps, step -> result. Raises ValueError for none, and for results of several kinds."""
    return OverSteps(*join(results, "step"))
