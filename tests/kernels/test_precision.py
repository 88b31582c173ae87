"""The tiers of precision: the error of the state against float64 as a function of length, as the docstring states it."""

from __future__ import annotations

import pytest
import torch
from recurrences import RECURRENCES, relative

from statescope.kernels.recurrence import Precision

LENGTHS = (256, 1024, 4096)
# The error at any length for "exact" and for "fast", and by how much it may grow from the shortest to the longest.
BOUNDS = {
    "linear": (4e-7, 4e-3, 4.0),
    "linear-decay": (2e-7, 4e-3, 1.5),
    "gated": (2e-7, 4e-3, 1.5),
    "delta": (6e-7, 7e-3, 1.5),
    "delta-correlated": (2e-6, 1e-2, 1.5),
    "delta-by-channel": (2e-7, 4e-3, 1.5),
    "low-rank": (2e-7, 4e-3, 1.5),
}


def state_errors(name: str, precision: Precision) -> list[float]:
    recurrence = RECURRENCES[name]
    wide = recurrence.make(1, LENGTHS[-1], 2, 32, 32, torch.float64, 0)
    taps = [length - 1 for length in LENGTHS]
    truth = recurrence.call(**wide, taps=taps).states
    found = recurrence.call(**{key: x.float() for key, x in wide.items()}, taps=taps, precision=precision).states
    return [relative(found[:, slot], truth[:, slot]) for slot in range(len(taps))]


@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_of_the_state_is_as_stated_and_does_not_pile_up(name: str) -> None:
    exact_bound, fast_bound, growth = BOUNDS[name]
    exact, fast = state_errors(name, "exact"), state_errors(name, "fast")
    print(f"\n{name}: exact {[f'{error:.1e}' for error in exact]}, fast {[f'{error:.1e}' for error in fast]}")
    assert max(exact) <= exact_bound
    assert 100 * max(exact) < min(fast) <= max(fast) <= fast_bound  # half precision does round
    assert exact[-1] <= growth * exact[0]
    assert fast[-1] <= 1.5 * fast[0]
