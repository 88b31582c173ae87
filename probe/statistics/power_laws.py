"""Power laws: how fast a positive number grows or falls with another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """The exponent p of y = c x^p, by least squares between the logarithms of positive numbers x and y, [n] each.

    It is nan where a y is not finite, as of a run that diverged. Raises ValueError for numbers that are not positive, of two
    lengths, or at one x alone.
    """
    along, values = np.asarray(x, float), np.asarray(y, float)
    if along.ndim != 1 or along.shape != values.shape:
        raise ValueError(f"a power law goes through numbers x and y, [n] each; got {along.shape} and {values.shape}")
    if not (np.isfinite(along) & (along > 0)).all() or (values <= 0).any():
        raise ValueError(f"a power law goes through positive numbers; got x {along.tolist()} and y {values.tolist()}")
    if len(np.unique(along)) < 2:
        raise ValueError(f"an exponent needs two different x at least; got {along.tolist()}")
    if not np.isfinite(values).all():
        return float("nan")
    return float(np.polyfit(np.log(along), np.log(values), 1)[0])
