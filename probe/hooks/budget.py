"""How many bytes a cache would hold, before the run that fills it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

from ..errors import NotEnoughMemoryError
from .names import STATE_PLACE, TRANSITION_PLACE, hook_name, layer_of
from .points import Point


class Sized(Protocol):
    """A model as a budget sees it: what is declared of each hook, and how long axes are."""

    points: dict[str, Point]

    def axis_sizes(self, layer: int | None) -> dict[str, int]: ...


def activation_bytes(model: Sized, name: str, batch: int, length: int, kept: int, taps: int) -> int:
    """Bytes of one hook in float32 (or complex64) for `kept` of `length` positions and `taps` taps."""
    point, sizes = model.points[name], model.axis_sizes(layer_of(name))
    sizes = {"batch": batch, "position": kept, "query": kept, "source": length, "tap": taps, "one": 1} | sizes
    count = prod(sizes.get(axis, 1) for axis in point.axis_names)
    if point.name == TRANSITION_PLACE:  # a diagonal, and two factors of the low-rank part
        size = sizes[model.points[hook_name(layer_of(name) or 0, STATE_PLACE)].axis_names[3]]
        count *= size * (1 + 2 * sizes.get("rank", sizes.get("householder", 1)))
    return (8 if point.is_complex else 4) * count


def check_budget(model: Sized, names: Sequence[str], batch: int, length: int, kept: int, taps: int, budget: int) -> None:
    """Raise NotEnoughMemoryError, with the arithmetic and what would fit, if the hooks would hold more than `budget` bytes."""
    sizes = {name: activation_bytes(model, name, batch, length, kept, taps) for name in names}
    total = sum(sizes.values())
    if total <= budget:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    per_tap = sum(size for name, size in sizes.items() if model.points[name].at_taps) // max(taps, 1)
    fits = ""
    if per_tap and total - per_tap * taps < budget:
        fits = f"; {(budget - total + per_tap * taps) // per_tap} taps would fit"
    raise NotEnoughMemoryError(
        f"the cache would hold {_size(total)}, over the budget of {_size(budget)}: {len(names)} hooks, the largest {largest} "
        f"with {_size(sizes[largest])} [{model.points[largest].axes}]{fits}. Keep fewer hooks, positions or taps, or raise "
        "budget_bytes"
    )


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
