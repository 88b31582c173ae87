"""Word problems over mixers: accuracy at the length of training and beyond, with the verdict of theory beside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ...probe.results.figure import SHARE, Figure, Intervals, Line, Panel
from ...probe.results.result import Result
from .results.accuracy_by_length import AccuracyByLength


@dataclass(frozen=True)
class StateTracking(Result, kind="state_tracking"):
    """The accuracy of each mixer on each group's word problem, by length."""

    title: ClassVar[str] = "State tracking"
    columns: ClassVar[dict[str, str]] = {
        "group": "whose word problem it is",
        "model": "mixer, with its range of eigenvalues and layers",
        "verdict": "possible, impossible or open, by theory",
        "reason": "why",
        "length": "tokens in a sequence",
        "accuracy": "share of the positions that are right",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
        "last": "share of sequences whose last position is right",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("group", "model", "verdict")

    @classmethod
    def of(
        cls, accuracies: Mapping[str, AccuracyByLength], verdicts: Mapping[str, Mapping[str, tuple[str, str]]], trained: int
    ) -> StateTracking:
        """Join the accuracies of each group. verdicts: group -> model -> word and reason. trained: tokens of training."""
        tables, chance = [], {}
        for group, found in accuracies.items():
            words = found.table["model"].map(lambda model, own=verdicts[group]: own[model][0])
            reasons = found.table["model"].map(lambda model, own=verdicts[group]: own[model][1])
            tables.append(found.table.assign(group=group, verdict=words, reason=reasons))
            chance[group] = float(found.about["chance"])
        return cls(pd.concat(tables, ignore_index=True)[list(cls.columns)], {"chance": chance, "trained": trained})

    def beyond(self) -> pd.DataFrame:
        """The rows of the longest sequences."""
        return self.table[self.table["length"] == self.table["length"].max()]

    def summary(self) -> str:
        lines = []
        for group, own in self.beyond().groupby("group", sort=False):
            said = ", ".join(f"{row.model} {row.accuracy:.0%} ({row.verdict})" for row in own.itertuples())
            lines.append(f"{group}, accuracy at {own['length'].iloc[0]} tokens: {said}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For each group, accuracy by length, and beside it the accuracy at both ends with the verdict in words."""
        panels = []
        for group, own in self.table.groupby("group", sort=False):
            level = (self.about["chance"][str(group)], "chance")
            lines = []
            for model, curve in own.groupby("model", sort=False):
                x, y, low, high = (curve[name].to_numpy() for name in ("length", "accuracy", "low", "high"))
                lines.append(Line(x, y, str(model), low, high, markers=True))
            panels.append(
                Panel(lines, "length of the sequence", "accuracy", str(group), level=level, y_range=(0.0, 1.02), bounds=SHARE)
            )
            marks = []
            for length in (own["length"].min(), own["length"].max()):
                rows = own[own["length"] == length]
                names = [f"{row.model}: {row.verdict}" for row in rows.itertuples()]
                low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
                marks.append(Intervals(names, rows["accuracy"].to_numpy(), f"{length} tokens", low, high))
            panels.append(Panel(marks, "accuracy", "", f"{group}: theory", level=level, x_range=(0.0, 1.02), bounds=SHARE))
        return Figure(
            self.title,
            panels,
            alt=f"Accuracy on word problems by mixer and length. {self.summary()}",
            caption=f"Trained on {self.about['trained']} tokens. Possible and impossible are of words of every length; what is "
            "possible need not be found by training.",
        )
