"""Where a label is read better: table and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....probe.results.figure import Figure, Intervals, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class ProbeComparison(Result, kind="probe_comparison"):
    """The difference of two probes' held-out scores on the same samples; validation data chose the activation of each."""

    title: ClassVar[str] = "Where a label is read better"
    columns: ClassVar[dict[str, str]] = {
        "label": "what is read",
        "first": "one place",
        "first_hook": "the activation that was chosen there",
        "first_inputs": "inputs of the probe there",
        "second": "the place that it is compared with",
        "second_hook": "the activation that was chosen there",
        "second_inputs": "inputs of the probe there",
        "metric": "of the scores",
        "first_score": "held-out score of the first",
        "second_score": "held-out score of the second",
        "difference": "first less second, on the same samples",
        "low": "lower end of its 95% interval over sources",
        "high": "upper end",
        "samples": "held-out samples",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("first", "second", "label")

    def summary(self) -> str:
        """Say of each label which place reads it better, or that neither does as far as these sources tell."""
        lines = []
        for row in self.table.itertuples():
            if row.low > 0:
                said = f"{row.first} reads it better than {row.second}"
            elif row.high < 0:
                said = f"{row.second} reads it better than {row.first}"
            else:
                said = f"{row.first} reads it no better and no worse than {row.second}, as far as these sources tell"
            lines.append(
                f"{row.label.replace('_', ' ')}: {said} ({row.metric} {row.first_score:.3f} against {row.second_score:.3f}, "
                f"difference {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}])"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One panel for each pair of places: the difference of each label with its interval."""
        panels = []
        for (first, second), own in self.table.groupby(["first", "second"], sort=False):
            names = [str(label).replace("_", " ") for label in own["label"]]
            values, low, high = (own[name].to_numpy() for name in ("difference", "low", "high"))
            label = f"{own['metric'].iloc[0]}: {first} less {second}"
            panels.append(Panel([Intervals(names, values, "", low, high)], label, "", level=(0.0, "equal")))
        return Figure(self.title, panels, columns=1, alt=f"Differences of probes. {self.summary()}")
