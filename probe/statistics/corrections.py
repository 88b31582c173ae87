"""Corrections of p-values for how many were looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def false_discovery_rates(p_values: NDArray[np.float64], *, dependent: bool = False) -> NDArray[np.float64]:
    """The smallest false discovery rate at which each test would be a discovery (adjusted p-values), in the shape of `p_values`;
    nan is no test, and stays.

    q_(i) = min over j >= i of m p_(j) / j, for independent or positively dependent tests (Benjamini and Hochberg 1995), times
    sum_j 1 / j for any dependence (Benjamini and Yekutieli 2001). Raises ValueError for what is no p-value, beyond 0 or 1.
    """
    shape = np.shape(p_values)
    p_values = np.asarray(p_values, dtype=np.float64).ravel()
    if ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"p-values lie between 0 and 1; got {np.nanmin(p_values):g} to {np.nanmax(p_values):g}")
    found = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    if not len(tested):
        return found.reshape(shape)
    ranks = np.arange(1, len(tested) + 1)
    order = tested[np.argsort(p_values[tested])]
    factor = len(tested) * (np.sum(1 / ranks) if dependent else 1.0)
    found[order] = np.minimum(np.minimum.accumulate((factor * p_values[order] / ranks)[::-1])[::-1], 1.0)
    return found.reshape(shape)
