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


def beside_null(null: NDArray[np.float64], effect: float) -> dict[str, float]:
    """The median and the quantiles of a null, and the two-sided p-value of an effect: exact where it is drawn as the null is."""
    if not len(null):
        return dict.fromkeys(NULL_COLUMNS, float("nan"))
    low, high = np.quantile(null, [0.025, 0.975])
    as_large = int((np.abs(null) >= abs(effect)).sum())
    return {"null": np.median(null), "null_low": low, "null_high": high, "p_value": (1 + as_large) / (1 + len(null))}
