"""Power laws: how fast a positive number grows or falls with another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """The exponent p of y = c x^p, by least squares between the logarithms of positive numbers x and y, [n] each."""
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.asarray(y, float)), 1)[0])
