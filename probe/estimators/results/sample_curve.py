"""Scores by training samples: the table and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...results.figure import EVERY, Figure, Line, Panel
from ...results.result import Result
from ...statistics.scores import BOUNDS, short_hook


@dataclass(frozen=True)
class SampleCurve(Result, kind="sample_curve"):
    """Held-out scores of probes that were fitted to more and more of the training groups."""

    title: ClassVar[str] = "Scores by training samples"
    columns: ClassVar[dict[str, str]] = {
        "estimator": "the probes",
        "hook": "the probed activation",
        "label": "what is probed",
        "metric": "what is measured",
        "groups": "training sources that were used",
        "samples": "training samples of them",
        "score": "held-out score",
        "low": "lower end of its 95% interval",
        "high": "upper end",
        "control": "held-out score on the control task",
        "majority": "score of always answering the most frequent class of those samples",
        "note": "why a number is missing",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("estimator", "hook", "label")

    def summary(self) -> str:
        """Give the scores with the fewest and with all samples, and whether the last doubling still helped."""
        lines = []
        for (estimator, hook, label), own in self.table.groupby(["estimator", "hook", "label"], sort=False):
            scored = own[own["score"].notna()]
            if scored.empty:
                lines.append(f"{label}, {estimator} at {short_hook(str(hook))}: not scored ({own['note'].iloc[-1]})")
                continue
            first, last = scored.iloc[0], scored.iloc[-1]
            half = scored[scored["samples"] <= last["samples"] / 2]
            grows = "" if half.empty else f"; {last['score'] - half['score'].iloc[-1]:+.3f} since half of them"
            lines.append(
                f"{label}, {estimator} at {short_hook(str(hook))}: {first['score']:.3f} with {first['samples']} samples, "
                f"{last['score']:.3f} with {last['samples']}{grows}"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One panel for each label: a line for each hook and estimator, with its control."""
        panels = []
        for label, rows in self.table[self.table["score"].notna()].groupby("label", sort=False):
            lines = []
            for (estimator, hook), own in rows.groupby(["estimator", "hook"], sort=False):
                x, y, low, high, control = (own[name].to_numpy() for name in ("samples", "score", "low", "high", "control"))
                said = f"{str(estimator).replace('_', ' ')}, {short_hook(str(hook))}"
                lines.append(Line(x, y, said, low, high, markers=True))
                lines.append(Line(x, control, f"{said}, control task", dashed=True, beside=said))
            majority = rows.groupby("samples")["majority"].mean()
            lines.append(Line(majority.index.to_numpy(), majority.to_numpy(), "majority", dashed=True))
            metric, title = rows["metric"].iloc[0], str(label).replace("_", " ")
            panels.append(Panel(lines, "training samples", metric, title, x_log=True, bounds=BOUNDS.get(metric, EVERY)))
        return Figure(self.title, panels, alt=f"Scores by training samples. {self.summary()}")
