"""Where the ticks of a logarithmic axis stand, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_CHOSEN = 6  # ticks beside each other; of more values some are named, equally far apart
APART = 0.1  # of the axis, between the nearest two
LONGEST = 6  # signs of a number; a longer one was not chosen by hand
STEPS = ((1, 2, 5), range(1, 10), [step / 10 for step in range(10, 100)])  # times powers of ten
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def ticks_at_choices(values: Sequence[float] | NDArray[np.float64]) -> dict[float, str] | None:
    """Ticks at the values that a study was run at, such as widths or learning rates, named as one writes them: 64, 2⁻¹⁰, 0.05.

    values: positive, in ascending order, each once. None where they are no few round numbers apart from each other.
    """
    values = values[:: max(1, math.ceil(len(values) / MOST_CHOSEN))]
    if len(values) < 2:
        return None
    logs = np.log(np.asarray(values, float))
    if np.diff(logs).min() < APART * (logs[-1] - logs[0]):
        return None
    halved = all(math.frexp(value)[0] == 0.5 for value in values) and values[0] < 0.1
    names = [f"2{_raised(math.frexp(value)[1] - 1)}" if halved else decimal(value) for value in values]
    if max(map(len, names)) > LONGEST:
        return None
    return {float(value): name for value, name in zip(values, names, strict=True)}


def ticks_between_powers(least: float, most: float) -> dict[float, str] | None:
    """Ticks at 1, 2 and 5 times powers of ten, over less than two decades; where these are no two, at finer steps.

    None over more decades, where powers of ten alone say enough; over fewer there would be one, or none.
    """
    if not 0 < math.log10(most / least) < 2:
        return None
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    for steps in STEPS:
        places = [float(f"{step}e{power}") for power in powers for step in steps]
        if sum(least <= place <= most for place in places) > 1:
            return {place: decimal(place) for place in places}
    return None


def decimal(value: float) -> str:
    """A positive number without a row of zeros: 0.001, 64, 10⁻⁴, 10⁶."""
    if 1e-3 <= value < 1e5:
        return f"{value:.10g}"
    digits, _, power = f"{value:.10e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return ("" if digits == "1" else f"{digits}\N{MULTIPLICATION SIGN}") + f"10{_raised(int(power))}"


def _raised(power: int) -> str:
    return str(power).translate(RAISED)
