"""Calibration: whether the probabilities of probes are as often right as they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..results.figure import Figure, Line, Panel
from ..results.result import Result
from .scores import short_hook


@dataclass(frozen=True)
class Calibration(Result, kind="calibration"):
    """How often probes are right by how sure they say they are, on held-out samples, with the expected calibration error."""

    title: ClassVar[str] = "Calibration of probes"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "hook": "the probed activation",
        "position": "token position of the probe; -1 for one probe for all positions",
        "label": "what is probed",
        "bin": "number of the bin: samples in the order of confidence, equally many in each",
        "confidence": "mean probability that the probe gives to its answer, in the bin",
        "accuracy": "share of the answers in the bin that are right",
        "low": "lower end of its 95% interval over groups",
        "high": "upper end",
        "samples": "held-out samples in the bin",
        "error": "expected calibration error of the probe: mean over samples of |confidence - accuracy| of their bins",
        "error_low": "lower end of its 95% interval over groups",
        "error_high": "upper end",
        "error_if_calibrated": "the same of as many samples whose answers are right as often as the probe says: 0 but for chance",
        "p_value": "share of such draws with as large an error, the probe's counted in",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "label", "hook", "position")

    def summary(self) -> str:
        """The error of each probe beside that of a calibrated one."""
        lines = []
        for (model, label, hook, position), own in self.table.groupby(["model", "label", "hook", "position"], sort=False):
            row = own.iloc[0]
            mean = {name: np.average(own[name], weights=own["samples"]) for name in ("confidence", "accuracy")}
            sure = "too sure" if mean["confidence"] > mean["accuracy"] else "not sure enough"
            said = sure if row["p_value"] <= 0.05 else "as sure as it may be"
            where = f"{label}, {model} at {short_hook(str(hook))}" + (f", position {position}" if position >= 0 else "")
            interval = f"[{row['error_low']:.3f}, {row['error_high']:.3f}]"
            null = f"(calibrated: {row['error_if_calibrated']:.3f}, p = {row['p_value']:.3f})"
            lines.append(f"{where}: expected calibration error {row['error']:.3f} {interval} {null}; {said}")
        return "\n".join(lines)

    def specification(self) -> Figure:
        """One reliability diagram a label: accuracy by confidence, beside the diagonal."""
        panels = []
        for (label, model), own in self.table.groupby(["label", "model"], sort=False):
            marks = []
            for (hook, position), rows in own.groupby(["hook", "position"], sort=False):
                x, y, low, high = (rows[name].to_numpy() for name in ("confidence", "accuracy", "low", "high"))
                name = short_hook(str(hook)) + (f", {position}" if position >= 0 else "")
                marks.append(Line(x, y, f"{name}: error {rows['error'].iloc[0]:.3f}", low, high, markers=True))
            ends = np.array([own["confidence"].min(), 1.0])
            marks.append(Line(ends, ends, "calibrated", dashed=True))
            panels.append(Panel(marks, "confidence", "accuracy", f"{model}: {str(label).replace('_', ' ')}"))
        return Figure(self.title, panels, alt=f"Accuracy by confidence. {self.summary()}", caption="95%, bootstrap over groups.")
