"""How often a probe is right by how sure it says it is, and the expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .groups import expanded_interval, group_weights
from .nulls import share_as_large


def calibration_rows(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    bins: int,
    resamples: int,
    seed: int,
    where: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The rows of `Calibration` of one probe.

    probabilities: of each class, [n, C]. truth: the number of the true class, [n]; -1 for a class that the probe does not know.
    groups: the source of each sample, [n]. bins: at most so many. where: the columns that say which probe it is.

    The error of a probe that is nearly calibrated is too large, by chance, and so are those of its resamples: the interval is
    of a probe that is not, and the p-value says whether it is.
    """
    confidence, right = probabilities.max(1), (probabilities.argmax(1) == truth).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    which = np.empty(len(order), dtype=np.int64)
    which[order] = np.arange(len(order)) * min(bins, len(order)) // len(order)
    count = int(which.max()) + 1
    gap = confidence - right

    def error(gaps: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        return float(np.abs(np.bincount(which, gaps * weights, count)).sum() / weights.sum())

    one = np.ones(len(right))
    own, sources = error(gap, one), len(np.unique(groups))
    drawn, errors = [], []
    for weights in group_weights(groups, resamples, seed) if sources > 1 else ():
        sizes = np.bincount(which, weights, count)
        drawn.append(np.bincount(which, right * weights, count) / np.where(sizes > 0, sizes, np.nan))
        errors.append(error(gap, weights))
    generator = np.random.default_rng(seed)
    null = np.array([error(confidence - (generator.random(len(right)) < confidence), one) for _ in range(resamples)])
    low, high = expanded_interval(np.array(errors), sources) if errors else (float("nan"),) * 2
    about = {
        "error": own,
        "error_low": low,
        "error_high": high,
        "error_if_calibrated": float(null.mean()),
        "p_value": share_as_large(null, own),
    }
    rows = []
    for number in range(count):
        held = which == number
        values = np.array([found[number] for found in drawn])
        values = values[~np.isnan(values)]
        ends = expanded_interval(values, sources) if len(values) else (float("nan"), float("nan"))
        row = {"bin": number, "confidence": confidence[held].mean(), "accuracy": right[held].mean()}
        rows.append({**where, **row, "low": ends[0], "high": ends[1], "samples": int(held.sum()), **about})
    return rows
