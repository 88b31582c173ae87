"""Ratios in one process: two callables in turn, so that a drift of the machine's speed falls on both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Median time of each in milliseconds, and the median over pairs of first / second."""

    first: float
    second: float
    ratio: float


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def compare(first: Callable[[], object], second: Callable[[], object], pairs: int = 15, warm_up: int = 2) -> Ratio:
    for _ in range(warm_up):
        first()
        second()
    times = []
    for pair in range(pairs):
        if pair % 2:
            late, early = _milliseconds(second), _milliseconds(first)
        else:
            early, late = _milliseconds(first), _milliseconds(second)
        times.append((early, late))
    return Ratio(
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )
