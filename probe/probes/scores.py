"""The result of a probe sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ..results.figure import Bars, Figure, Line, Panel
from ..results.result import Result


@dataclass(frozen=True)
class ProbeScores(Result, kind="probe_scores"):
    """Held-out accuracy of linear probes by hook, position and label, beside what it is compared with."""

    title: ClassVar[str] = "Linear probes"
    columns: ClassVar[dict[str, str]] = {
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

    def summary(self) -> str:
        best = self.table.sort_values("accuracy").groupby("label", sort=False).tail(1).sort_values("label")
        lines = [
            f"{row.label}: {row.accuracy:.3f} [{row.low:.3f}, {row.high:.3f}] at {row.hook} "
            f"(majority {row.majority:.3f}, control {row.control:.3f})"
            for row in best.itertuples()
        ]
        return "\n".join(lines)

    def specification(self, label: str | None = None) -> Figure:
        """One panel a label: accuracy by hook with its interval, control and majority baseline. label: only this one."""
        labels = [label] if label is not None else list(dict.fromkeys(self.table["label"]))
        if (self.table["position"] >= 0).any():
            panels = [self._by_position(name) for name in labels]
        else:
            panels = [self._by_hook(name) for name in labels]
        return Figure(
            self.title,
            panels,
            columns=min(3, len(panels)),
            alt=f"Accuracy of linear probes for {', '.join(labels)}. {self.summary()}",
            caption=f"{self.about.get('interval', '')}; control: {self.about.get('control', '')}.",
        )

    def _by_hook(self, label: str) -> Panel:
        own = self.table[self.table["label"] == label].sort_values(["site", "layer"])
        names = [short_hook(hook) for hook in own["hook"]]
        interval = {"low": own["low"].to_numpy(), "high": own["high"].to_numpy()}
        control = {"low": own["control_low"].to_numpy(), "high": own["control_high"].to_numpy()}
        marks = [
            Bars(names, own["accuracy"].to_numpy(), "probe", **interval),
            Bars(names, own["control"].to_numpy(), "control task", **control),
        ]
        return self._panel(label, marks, own, "")

    def _by_position(self, label: str) -> Panel:
        own = self.table[self.table["label"] == label]
        marks = []
        for hook, rows in own.groupby("hook", sort=False):
            rows = rows.sort_values("position")
            x, low, high = (rows[name].to_numpy() for name in ("position", "low", "high"))
            marks.append(Line(x, rows["accuracy"].to_numpy(), short_hook(str(hook)), low, high, markers=True))
        return self._panel(label, marks, own, "token position")

    def _panel(self, label: str, marks: list[Bars] | list[Line], own: pd.DataFrame, x_label: str) -> Panel:
        majority = float(np.nanmean(own["majority"]))
        return Panel(marks, x_label, "accuracy", label.replace("_", " "), level=(majority, "majority"), y_range=(0.0, 1.02))


def short_hook(hook: str) -> str:
    """A hook's layer and site: "1 state" for "blocks.1.attn.hook_state"."""
    site = hook.split(".")[-1].removeprefix("hook_")
    return f"{hook.split('.')[1]} {site}" if hook.startswith("blocks.") else site
