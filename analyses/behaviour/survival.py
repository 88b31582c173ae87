"""How a concept that a probe reads survives with distance from where it arose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd
from torch import Tensor

from ...probe.captures.capture import Capture
from ...probe.estimators.fitted_probes import FittedProbes
from ...probe.statistics.groups import group_bootstrap
from .results.survival import Survival

BIN_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 100_000)
FEWEST = 20  # samples; a bin with fewer is left out


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
