"""The table of hooks, collected from what models, blocks and every mixer declare."""

from __future__ import annotations

from ..hooks.names import place_of
from ..hooks.points import BLOCK_POINTS, MODEL_POINTS, Point
from .base import Mixer, MixerConfig


def hook_table() -> dict[Point, tuple[str, ...]]:
    """Each hook there is, and the kinds of token mixers that have it; none for a hook of every model or block."""
    table: dict[Point, tuple[str, ...]] = dict.fromkeys((*MODEL_POINTS, *BLOCK_POINTS), ())
    for kind in MixerConfig.kinds():
        for point in MixerConfig.of_kind(kind).points:
            table[point] = (*table.get(point, ()), kind)
    return table


def why_not(name: str, mixer: Mixer) -> str | None:
    """Why a mixer lacks a hook that others have; None for a name that no mixer has."""
    place = place_of(name)
    owners = sorted({kind for point, kinds in hook_table().items() if point.name == place for kind in kinds})
    if not owners:
        return None
    if place in mixer.absences:
        return f"{mixer.kind} {mixer.absences[place]}"
    return f"{mixer.kind} has no {place.removeprefix('attn.')}; it belongs to {', '.join(owners)}"
