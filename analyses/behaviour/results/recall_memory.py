"""Recall against memory: the table and the figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from ....probe.results.figure import SHARE, Figure, Intervals, Line, Panel
from ....probe.results.result import Result
from .accuracy_by_length import AccuracyByLength


@dataclass(frozen=True)
class RecallMemory(Result, kind="recall_memory"):
    """The accuracy of each model, and the bytes of one sequence's memory."""

    title: ClassVar[str] = "Recall against memory"
    columns: ClassVar[dict[str, str]] = {
        "family": "mixer",
        "model": "name of the model",
        "bytes": "what one sequence's memory holds after it, all layers together",
        "accuracy": "share of the positions with a target that are right",
        "low": "lower end of its 95% interval over sequences",
        "high": "upper end",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("family", "model")

    @classmethod
    def of(cls, accuracy: AccuracyByLength, held: Mapping[str, int], families: Mapping[str, str], length: int) -> RecallMemory:
        """Join accuracies at one length with the bytes of each model."""
        own = accuracy.select(length=length).table
        table = own.assign(bytes=own["model"].map(dict(held)), family=own["model"].map(dict(families)))
        return cls(table[list(cls.columns)].reset_index(drop=True), {"length": length, "chance": accuracy.about["chance"]})

    def summary(self) -> str:
        return "\n".join(
            f"{row.model}: {row.accuracy:.1%} with {row.bytes:,} bytes" for row in self.table.sort_values("bytes").itertuples()
        )

    def specification(self) -> Figure:
        """Accuracy by bytes, one curve a family; families of one size in a panel of their own, the least memory first."""
        lines, alone = [], []
        for family, own in self.table.sort_values("bytes").groupby("family", sort=False):
            if len(own) == 1:
                alone.append(own)
                continue
            x, y, low, high = (own[name].to_numpy() for name in ("bytes", "accuracy", "low", "high"))
            lines.append(Line(x, y, str(family), low, high, markers=True))
        level = (float(self.about["chance"]), "chance")
        panels = (
            [Panel(lines, "bytes of memory", "accuracy", x_log=True, level=level, y_range=(0.0, 1.02), bounds=SHARE)]
            if lines
            else []
        )
        panels += [_of_one_size(pd.concat(alone))] if alone else []
        return Figure(self.title, panels, columns=1, alt=f"Accuracy of recall by bytes of memory. {self.summary()}")


def _of_one_size(rows: pd.DataFrame) -> Panel:
    names = [f"{row.model}: {row.bytes:,} bytes" for row in rows.itertuples()]
    found, low, high = (rows[name].to_numpy(float) for name in ("accuracy", "low", "high"))
    return Panel([Intervals(names, found, "accuracy", low, high)], "accuracy", "", bounds=SHARE)
