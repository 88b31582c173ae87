"""Recall capacity: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ....probe.results.figure import Figure, Line, Panel
from ....probe.results.result import Result

WRONG = 0.5  # of a value's mean square: the error at which it counts as lost


@dataclass(frozen=True)
class RecallCapacity(Result, kind="recall_capacity"):
    """The error of recall by pairs written, of each rule."""

    title: ClassVar[str] = "Recall capacity"
    columns: ClassVar[dict[str, str]] = {
        "rule": "how the state is written",
        "keys": "random or orthonormal",
        "pairs": "written, all read at the end",
        "error": "mean squared error of a value that is read, beside its mean square",
        "low": "lower end of its 95% interval over states",
        "high": "upper end",
        "expected": "what theory has it to be",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("rule", "keys", "pairs")

    def capacity(self) -> pd.DataFrame:
        """For each rule and keys: the most of the pairs tried that are read with an error of at most 0.5, and by theory."""
        rows = []
        for (rule, keys), own in self.table.groupby(["rule", "keys"], sort=False):
            held = [own.loc[own[column] <= WRONG, "pairs"].max() for column in ("error", "expected")]
            rows.append((rule, keys, *(0 if np.isnan(count) else int(count) for count in held)))
        return pd.DataFrame(rows, columns=["rule", "keys", "measured", "expected"])

    def summary(self) -> str:
        said = [
            f"{row.rule}, {row.keys} keys: {row.measured} of the pairs tried are held, {row.expected} by theory"
            for row in self.capacity().itertuples()
        ]
        return "\n".join([f"{self.about['key_size']} key channels, an error of at most {WRONG:g}:", *said])

    def specification(self) -> Figure:
        """The error by pairs, with theory dashed, for each kind of key."""
        panels = []
        for keys, own in self.table.groupby("keys", sort=False):
            lines = []
            for rule, curve in own.groupby("rule", sort=False):
                x, y, low, high = (curve[name].to_numpy() for name in ("pairs", "error", "low", "high"))
                lines.append(Line(x, y, str(rule), low, high, markers=True))
                lines.append(Line(x, curve["expected"].to_numpy(), "theory", dashed=True))
            level = (WRONG, "lost")
            panels.append(Panel(lines, "pairs written", "squared error", f"{keys} keys", level=level, y_range=(0.0, 2.0)))
        return Figure(self.title, panels, alt=f"Error of recall by pairs written. {self.summary()}")
