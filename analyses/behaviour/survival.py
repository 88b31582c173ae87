"""How a concept that a probe reads survives with distance from where it arose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from ...probe.captures.capture import Capture
from ...probe.estimators.fitted_probes import FittedProbes
from ...probe.results.figure import Figure, Line, Panel
from ...probe.results.result import Result
from ...probe.statistics.groups import group_bootstrap
from ...probe.statistics.scores import short_hook

BIN_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 100_000)
FEWEST = 20  # samples; a bin with fewer is left out


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
            panels.append(Panel(lines, str(against), "probe accuracy", title, x_log=log, y_range=(0.0, 1.02)))
        return Figure(self.title, panels, columns=min(3, len(panels)), alt=f"Accuracy of probes by distance. {self.summary()}")


def survival(
    fitted: Mapping[str, FittedProbes],
    captures: Mapping[str, Capture],
    hooks: Sequence[str],
    labels: Sequence[str],
    *,
    depths: Sequence[str] = (),
    seed: int,
) -> Survival:
    """Bin held-out samples where a label is present by the bytes since it last changed.

    fitted, captures: by model. Captures need "<label>_age" beside each label.
    hooks, labels: what is binned. Hooks that a model lacks are left out for it, and labels that no probe was fitted to there.
    depths: those of the labels that count a nesting, which are binned by it too.
    seed: of the intervals.
    """
    rows: list[dict[str, object]] = []
    for model, probes in fitted.items():
        capture = captures[model]
        groups = capture.sample_groups
        for hook in hooks:
            for label in (name for name in labels if probes.has(hook, name)):
                truth = capture.label(label)
                right = probes.predict(capture, hook, label) == truth
                where = {"model": model, "hook": hook, "label": label}
                ages = capture.label(f"{label}_age")
                rows += _bins(where, "bytes since it changed", ages, BIN_EDGES, truth > 0, right, truth, groups, seed)
                if label in depths:
                    edges = tuple(range(1, int(truth.max()) + 2))
                    rows += _bins(where, "nesting", truth, edges, truth > 0, right, truth, groups, seed)
    return Survival(pd.DataFrame(rows, columns=list(Survival.columns)), {"interval": "95%, bootstrap over files"})


def _bins(
    where: Mapping[str, object],
    against: str,
    distance: Tensor,
    edges: Sequence[int],
    present: Tensor,
    right: Tensor,
    truth: Tensor,
    groups: Tensor,
    seed: int,
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for low_edge, high_edge in pairwise(edges):
        inside = present & (distance >= low_edge) & (distance < high_edge)
        count = int(inside.sum())
        if count < FEWEST:
            continue
        correct = right[inside].double().numpy()
        low, high = group_bootstrap(correct, groups[inside].numpy(), 500, seed)
        share = float(truth[inside].unique(return_counts=True)[1].max()) / count
        numbers = {"accuracy": correct.mean(), "low": low, "high": high, "majority": share, "samples": count}
        found.append({**where, "against": against, "distance": low_edge, **numbers})
    return found
