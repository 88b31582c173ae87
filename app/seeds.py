"""Seeds, and steps of training, as the command line takes them."""

from __future__ import annotations

import re

from ..probe.errors import StatescopeError

MOST_STEPS = 200  # each is a model on the disk


class BadSeedsError(StatescopeError, ValueError):
    """Seeds that are neither a range nor a list of numbers."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0..4` is 0, 1, 2, 3, 4; `0,2,5` is these three. Raises BadSeedsError for anything else."""
    ends = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text)
    if ends and int(ends[1]) <= int(ends[2]) <= int(ends[1]) + 999:
        return tuple(range(int(ends[1]), int(ends[2]) + 1))
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return tuple(map(int, text.split(",")))
    raise BadSeedsError(f"seeds are a range such as 0..4, of at most 1000, or a list such as 0,2,5; got {text!r}")


class BadStepsError(StatescopeError, ValueError):
    """Steps of training that are no list of numbers."""


def parse_steps(text: str) -> tuple[int, ...]:
    """`0,10,100` is these three, in ascending order and each once. Raises BadStepsError for anything else, and for too many."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text) or text.count(",") >= MOST_STEPS:
        raise BadStepsError(f"steps to keep are a list such as 0,10,100, of at most {MOST_STEPS}; got {text[:80]!r}")
    return tuple(sorted(set(map(int, text.split(",")))))
