"""Effects beside those of random changes: what is left of a finding once chance had its go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NULL_COLUMNS = {
    "null": "median change by random changes of the same size",
    "null_low": "their 2.5% quantile",
    "null_high": "their 97.5% quantile",
    "p_value": "share of them whose change is as large in size, the one that is tested counted in",
}


def share_as_large(null: NDArray[np.float64], found: float) -> float:
    """The one-sided p-value (1 + draws of a null that are as large) / (1 + draws), exact where what was found is drawn alike.

    It is nan where what was found, or a draw, is nan: no comparison with nan holds, so that it would pass for the largest.
    """
    if np.isnan(found) or bool(np.isnan(null).any()):
        return float("nan")
    return (1 + int((null >= found).sum())) / (1 + len(null))


def beside_null(null: NDArray[np.float64], effect: float) -> dict[str, float]:
    """The median and the quantiles of a null, and the two-sided p-value of an effect, as `share_as_large` has it."""
    if not len(null):
        return dict.fromkeys(NULL_COLUMNS, float("nan"))
    low, high = np.quantile(null, [0.025, 0.975])
    p_value = share_as_large(np.abs(null), abs(effect))
    return {"null": np.median(null), "null_low": low, "null_high": high, "p_value": p_value}
