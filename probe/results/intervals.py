"""The mean of some draws, such as one for each seed, with its 95% interval by Student's t; the median with the quartiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .marks import Line

LEVEL = 0.95


def mean_and_reach(draws: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mean [...] of draws [n, ...], and how far its interval reaches to each side, which is NaN of a single draw.

    The reach is t s / sqrt(n) with s the draws' standard deviation: for three draws 4.3 standard errors, for many 1.96.
    """
    x = np.asarray(draws, float)
    count = len(x)
    if count < 2:
        return x.mean(0), np.full(x.shape[1:], np.nan)
    from scipy.stats import t as student  # what shows one draw, or means that are stored, imports none of it

    return x.mean(0), student.ppf((1 + LEVEL) / 2, count - 1) * x.std(0, ddof=1) / np.sqrt(count)


def line_of_quartiles(rows: pd.DataFrame, x: str, y: str, label: str, *, markers: bool = False) -> Line:
    """The median of the column y over the rows that share an x, between the quartiles. What is not finite has no part in it."""
    by = rows[y].astype(float).replace([np.inf, -np.inf], np.nan).groupby(rows[x])
    low, middle, high = (by.quantile(share) for share in (0.25, 0.5, 0.75))
    return Line(middle.index.to_numpy(), middle.to_numpy(), label, low.to_numpy(), high.to_numpy(), markers=markers)


def line_of_means(rows: pd.DataFrame, x: str, y: str, label: str, *, markers: bool = True) -> Line:
    """The mean of the column y over the draws of each x, with its interval; where there is one draw, it has no width.

    For logarithmic axes: the lower end is no less than a fifth of the mean.
    """
    draws = {place: own.to_numpy() for place, own in rows.groupby(x)[y]}
    mean, reach = (np.array(column) for column in zip(*map(mean_and_reach, draws.values()), strict=True))
    reach = np.nan_to_num(reach)
    return Line(np.array(list(draws), float), mean, label, np.maximum(mean - reach, 0.2 * mean), mean + reach, markers=markers)
