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
        "expected": "what theory has it to be; nan where no closed form is known",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("rule", "keys", "pairs")

    def capacity(self) -> pd.DataFrame:
        """For each rule and keys: the most of the pairs tried that are read with an error of at most 0.5, and by theory.

        "expected" is missing where theory has no closed form.
        """
        rows = []
        for (rule, keys), own in self.table.groupby(["rule", "keys"], sort=False):
            measured = own.loc[own["error"] <= WRONG, "pairs"].max()
            expected = own.loc[own["expected"] <= WRONG, "pairs"].max()
            known = not own["expected"].isna().any()
            rows.append((rule, keys, _count(measured), _count(expected) if known else None))
        held = pd.DataFrame(rows, columns=["rule", "keys", "measured", "expected"])
        return held.astype({"measured": int, "expected": "Int64"})

    def summary(self) -> str:
        said = [f"An error of at most {WRONG:g} of a value's mean square is held:"]
        for row in self.capacity().itertuples():
            channels, tried = self.about["key_size"][row.rule], self._tried(row.rule, row.keys)
            theory = "for which no closed form is known" if pd.isna(row.expected) else f"{row.expected} by theory"
            said.append(f"{row.rule}, {row.keys} keys of {channels} channels: {row.measured} of up to {tried} pairs, {theory}")
        notes, without = self.about.get("notes", {}), self.about.get("without", {})
        shown = set(self.table["rule"])
        said += [f"{rule}: {note}" for rule, note in notes.items() if rule in shown]
        return "\n".join([*said, *(f"{name}: no rule, {why}" for name, why in without.items())])

    def _tried(self, rule: str, keys: str) -> int:
        own = self.table[(self.table["rule"] == rule) & (self.table["keys"] == keys)]
        return int(own["pairs"].max())

    def specification(self) -> Figure:
        """The error by pairs, with theory dashed, for each kind of key."""
        panels = []
        for keys, own in self.table.groupby("keys", sort=False):
            lines = []
            for rule, curve in own.groupby("rule", sort=False):
                x, y, low, high = (curve[name].to_numpy() for name in ("pairs", "error", "low", "high"))
                lines.append(Line(x, y, str(rule), low, high, markers=True))
                if not curve["expected"].isna().any():
                    lines.append(Line(x, curve["expected"].to_numpy(), "theory", dashed=True))
            level = (WRONG, "lost")
            panels.append(Panel(lines, "pairs written", "squared error", f"{keys} keys", level=level, y_range=(0.0, 2.0)))
        return Figure(self.title, panels, alt=f"Error of recall by pairs written. {self.summary()}")


def _count(pairs: float) -> int:
    return 0 if np.isnan(pairs) else int(pairs)
