"""How many bytes a cache would hold, before the run that fills it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .names import layer_of
from .points import point_of

if TYPE_CHECKING:
    from ..models.hooked import HookedModel


def activation_bytes(model: HookedModel, name: str, batch: int, length: int, kept: int, taps: int) -> int:
    """Bytes of one hook in float32 (or complex64) for `kept` of `length` positions and `taps` taps."""
    layer = layer_of(name) or 0
    mixer = model.mixer(layer)
    sizes = {"batch": batch, "position": kept, "query": kept, "source": length, "tap": taps, "one": 1}
    sizes |= model.sizes | mixer.axis_sizes
    point = point_of(name, mixer.kind)
    axes = point.axes.replace("[", "").replace("]", "").split()
    count = 1
    for axis in axes:
        count *= sizes.get(axis, 1)
    if name.endswith("hook_transition"):
        size = mixer.axis_sizes.get("key", mixer.axis_sizes.get("channel", 1))
        count *= size * (1 + 2 * mixer.axis_sizes.get("householder", 1))
    return (8 if mixer.is_complex and point.mixers is not None else 4) * count


def check_budget(model: HookedModel, names: Sequence[str], batch: int, length: int, kept: int, taps: int, budget: int) -> None:
    """Raise MemoryError, with the arithmetic and what would fit, if the hooks would hold more than `budget` bytes."""
    sizes = {name: activation_bytes(model, name, batch, length, kept, taps) for name in names}
    total = sum(sizes.values())
    if total <= budget:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    per_tap = sum(size for name, size in sizes.items() if "tap" in point_of(name).axes.split()) // max(taps, 1)
    fits = ""
    if per_tap and total - per_tap * taps < budget:
        fits = f"; {(budget - total + per_tap * taps) // per_tap} taps would fit"
    raise MemoryError(
        f"the cache would hold {_size(total)}, over the budget of {_size(budget)}: {len(names)} hooks, the largest {largest} "
        f"with {_size(sizes[largest])} [{point_of(largest).axes}]{fits}. Keep fewer hooks, positions or taps, or raise "
        "budget_bytes"
    )


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
