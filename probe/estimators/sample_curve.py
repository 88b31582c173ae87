"""How a probe's held-out score grows with the samples that it is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ..captures.capture import Capture
from .probe_sweep import ProbeSweep
from .results.sample_curve import SampleCurve

SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


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
            scores = pd.DataFrame(names, columns=["hook", "label"]).assign(note=str(error), metric=sweep.scoring.name)
        parts.append(scores.rename(columns={"accuracy": "score"}).drop(columns="samples", errors="ignore").assign(**about))
    table = pd.concat(parts, ignore_index=True).reindex(columns=list(SampleCurve.columns))
    numbers = ["score", "low", "high", "control", "majority"]
    return SampleCurve(table.astype(dict.fromkeys(numbers, np.float64)), {"shares": list(shares), "seed": sweep.seed})
