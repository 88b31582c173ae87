"""How a probe's held-out score grows with the samples that it is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from ..captures.capture import Capture
from ..results.figure import Figure, Line, Panel
from ..results.result import Result
from ..statistics.scores import short_hook
from .probe_sweep import ProbeSweep

SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


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
                lines.append(Line(x, control, f"{said}, control task", dashed=True))
            majority = rows.groupby("samples")["majority"].mean()
            lines.append(Line(majority.index.to_numpy(), majority.to_numpy(), "majority", dashed=True))
            panels.append(Panel(lines, "training samples", rows["metric"].iloc[0], str(label).replace("_", " "), x_log=True))
        return Figure(self.title, panels, alt=f"Scores by training samples. {self.summary()}")


def sample_curve(
    sweep: ProbeSweep,
    train: Capture,
    test: Capture,
    *,
    hooks: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    shares: Sequence[float] = SHARES,
) -> SampleCurve:
    """Fit a sweep to growing shares of the training groups, each of which holds the smaller ones, and score all on one capture.

    shares: of the groups, more than 0 and at most 1. A share with too few groups to be fitted has a row that says so.

    Raises ValueError for other shares, and as `ProbeSweep.fit` does where all of the groups cannot be fitted.
    """
    if not shares or min(shares) <= 0 or max(shares) > 1:
        raise ValueError(f"shares of the groups are more than 0 and at most 1, got {list(shares)}")
    unique = train.groups.unique()
    order = unique[torch.randperm(len(unique), generator=torch.Generator().manual_seed(sweep.seed))]
    parts = []
    for count in sorted({max(1, round(share * len(unique))) for share in shares}):
        part = train.select(torch.isin(train.groups, order[:count]))
        about = {"groups": count, "samples": len(part.sample_groups), "estimator": sweep.estimator.kind}
        try:
            scores = sweep.fit(part, hooks=hooks, labels=labels).score(test).to_frame()
        except ValueError as error:
            if count == len(unique):
                raise
            names = [(hook, label) for hook in (hooks or train.hooks) for label in (labels or train.labels)]
            scores = pd.DataFrame(names, columns=["hook", "label"]).assign(note=str(error), metric=sweep.estimator.metric.name)
        parts.append(scores.rename(columns={"accuracy": "score"}).drop(columns="samples", errors="ignore").assign(**about))
    table = pd.concat(parts, ignore_index=True).reindex(columns=list(SampleCurve.columns))
    numbers = ["score", "low", "high", "control", "majority"]
    return SampleCurve(table.astype(dict.fromkeys(numbers, np.float64)), {"shares": list(shares), "seed": sweep.seed})
