"""Colours that stay apart for readers with a colour-vision deficiency (Okabe and Ito 2008), and in grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open", "x")
MARKERS = ("o", "D", "s", "^", "x")
DASHES = ("solid", "dot", "dashdot", "longdashdot")
SEQUENTIAL = "viridis"
DIVERGING = "RdBu"
REFERENCE = "#666666"
MOST_STEPS = 12


def color(index: int) -> str:
    return SERIES[index % len(SERIES)]


def turn(index: int) -> int:
    """How often the colours have been gone through before a number: what shares a colour differs by its dashes or its symbol."""
    return index // len(SERIES)


def on_dark(tint: str) -> str:
    """The colour as it is drawn on a dark ground, where black is white."""
    return "#FFFFFF" if tint == "#000000" else tint


def rim(dark: bool) -> str:
    """What a point is framed by, whose own colour may be nearly that of the ground: a scale has dark ends and pale ones."""
    return "#C8C8C8" if dark else REFERENCE


def ink_on(red: int, green: int, blue: int) -> str:
    """Choose black or white, whichever is read more easily on a colour (0 to 255 each): it is at least 4.5 times as light or as
    dark, by the relative luminance of WCAG 2.
    """
    shares = (value / 255 for value in (red, green, blue))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def whole_numbers(values: NDArray[Any]) -> tuple[int, int] | None:
    """The least and the largest of a few whole numbers; None for other numbers, which have a continuous scale."""
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0 or not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        return None
    low, high = int(numbers.min()), int(numbers.max())
    return (low, high) if 0 < high - low < MOST_STEPS else None
