"""The result of a probe sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ..results.figure import Figure, Intervals, Line, Panel
from ..results.result import Result


@dataclass(frozen=True)
class ProbeScores(Result, kind="probe_scores"):
    """Held-out accuracy of linear probes by hook, position and label, beside what it is compared with."""

    title: ClassVar[str] = "Linear probes"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "hook": "the probed activation",
        "layer": "of the hook; -1 for the model's own",
        "site": "short name of the hook",
        "position": "token position of the probe; -1 for one probe for all positions",
        "label": "what is probed",
        "classes": "number of classes of the label",
        "accuracy": "share of held-out samples that are right",
        "low": "lower end of its 95% interval",
        "high": "upper end of its 95% interval",
        "majority": "accuracy of always answering the most frequent class of the training samples",
        "control": "accuracy on the control task",
        "control_low": "lower end of its 95% interval",
        "control_high": "upper end of its 95% interval",
        "selectivity": "accuracy - control",
        "penalty": "chosen by grouped cross-validation",
        "features": "inputs of the probe",
        "samples": "held-out samples",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "label", "layer", "site", "position")

    @classmethod
    def join(cls, parts: Sequence[ProbeScores]) -> ProbeScores:
        """Scores of several models in one table; they must have been measured in the same way."""
        if any(part.about != parts[0].about for part in parts):
            raise ValueError("these probe scores were not measured in the same way; keep them apart")
        return cls(pd.concat([part.table for part in parts], ignore_index=True), parts[0].about)

    def summary(self) -> str:
        best = self.table.sort_values("accuracy").groupby(["model", "label"], sort=False).tail(1).sort_values(["label", "model"])
        lines = [
            f"{row.label}, {row.model}: {row.accuracy:.3f} [{row.low:.3f}, {row.high:.3f}] at {row.hook} "
            f"(majority {row.majority:.3f}, control {row.control:.3f})"
            for row in best.itertuples()
        ]
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One panel a label: accuracy by hook with its interval, control and majority."""
        table = self.table
        if (table["position"] >= 0).any():
            panels = [self._by_position(own, *map(str, where)) for where, own in table.groupby(["label", "model"], sort=False)]
        else:
            panels = [self._by_hook(own, str(name)) for name, own in table.groupby("label", sort=False)]
        return Figure(
            self.title,
            panels,
            alt=f"Accuracy of linear probes. {self.summary()}",
            caption=f"{self.about.get('interval', '')}; control: {self.about.get('control', '')}.",
        )

    def _by_hook(self, own: pd.DataFrame, label: str) -> Panel:
        own = own.sort_values(["model", "layer", "site"])
        several = own["model"].nunique() > 1
        pairs = zip(own["model"], own["hook"], strict=True)
        names = [f"{model}: {short_hook(hook)}" if several else short_hook(hook) for model, hook in pairs]
        values, low, high = (own[name].to_numpy() for name in ("accuracy", "low", "high"))
        probe = Intervals(names, values, "probe", low, high)
        values, low, high = (own[name].to_numpy() for name in ("control", "control_low", "control_high"))
        control = Intervals(names, values, "control task", low, high)
        majority = float(np.nanmean(own["majority"]))
        least = min(own[["low", "control_low"]].min().min(), majority)
        shown = (max(0.0, least - 0.05), 1.02)
        return Panel([probe, control], "accuracy", "", label.replace("_", " "), level=(majority, "majority"), x_range=shown)

    def _by_position(self, own: pd.DataFrame, label: str, model: str) -> Panel:
        marks = []
        for hook, rows in own.groupby("hook", sort=False):
            rows = rows.sort_values("position")
            x, low, high = (rows[name].to_numpy() for name in ("position", "low", "high"))
            marks.append(Line(x, rows["accuracy"].to_numpy(), short_hook(str(hook)), low, high, markers=True))
            low, high = (rows[name].to_numpy() for name in ("control_low", "control_high"))
            marks.append(Line(x, rows["control"].to_numpy(), f"{short_hook(str(hook))}, control task", low, high))
        majority = float(np.nanmean(own["majority"]))
        title = f"{label.replace('_', ' ')}: {model}" if model else label.replace("_", " ")
        return Panel(marks, "token position", "accuracy", title, level=(majority, "majority"), y_range=(0.0, 1.03))


def short_hook(hook: str) -> str:
    """A hook's layer and site: "1 state" for "blocks.1.attn.hook_state"."""
    site = hook.split(".")[-1].removeprefix("hook_")
    return f"{hook.split('.')[1]} {site}" if hook.startswith("blocks.") else site
