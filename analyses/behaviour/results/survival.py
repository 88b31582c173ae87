"""Survival at distance: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import SHARE, Figure, Line, Panel
from ....probe.results.result import Result
from ....probe.statistics.scores import short_hook


@dataclass(frozen=True)
class Survival(Result, kind="survival"):
    """Accuracy of a probe by distance, among the samples where the concept is present."""

    title: ClassVar[str] = "Survival at distance"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "hook": "the probed activation",
        "label": "what is probed; only samples where it is not 0",
        "against": "what the distance counts",
        "distance": "lower edge of the bin",
        "accuracy": "share of held-out samples that are right",
        "low": "lower end of its 95% interval",
        "high": "upper end",
        "majority": "share of the most frequent value in the bin",
        "samples": "held-out samples in the bin",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "label", "hook", "against")

    def summary(self) -> str:
        ends = self.table.groupby(["model", "hook", "label", "against"], sort=False)["accuracy"].agg(["first", "last"])
        return "\n".join(
            f"{' / '.join(map(str, where))}: {row['first']:.2f} to {row['last']:.2f}" for where, row in ends.iterrows()
        )

    def specification(self) -> Figure:
        """One panel for each label and kind of distance, a line for each model and hook."""
        panels = []
        for (name, against), own in self.table.groupby(["label", "against"], sort=False):
            lines = []
            for (model, hook), rows in own.groupby(["model", "hook"], sort=False):
                x, y, low, high = (rows[column].to_numpy() for column in ("distance", "accuracy", "low", "high"))
                lines.append(Line(np.maximum(x, 0.7), y, f"{model}: {short_hook(str(hook))}", low, high, markers=True))
            log = str(against).startswith("bytes")
            title = str(name).replace("_", " ")
            panels.append(Panel(lines, str(against), "probe accuracy", title, x_log=log, y_range=(0.0, 1.02), bounds=SHARE))
        return Figure(self.title, panels, columns=min(3, len(panels)), alt=f"Accuracy of probes by distance. {self.summary()}")
