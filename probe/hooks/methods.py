"""What can be done with a mixer, which follows from the hooks that it shows; and the tables that say so for every one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .names import MIXING_PLACE, STATE_PLACE, TRANSITION_PLACE, site_of
from .points import Point

# method -> the hooks of which it needs one; none where it needs no more than a model that runs.
METHODS: dict[str, tuple[str, ...]] = {
    "taps and edits": (STATE_PLACE,),
    "patching": (STATE_PLACE,),
    "trajectories": (STATE_PLACE,),
    "spectra": (TRANSITION_PLACE,),
    "mixing matrix": (MIXING_PLACE, "attn.hook_pattern"),
    "generation": (),
    "tangent kernel": (),
    "probes": (),
}


def can(method: str, points: Iterable[Point]) -> bool:
    """Whether a mixer with these hooks takes a method, which is one of `METHODS`."""
    needed, shown = METHODS[method], {point.name for point in points}
    return not needed or any(place in shown for place in needed)


def answers(points: Iterable[Point]) -> list[str]:
    """For each of `METHODS`, "yes" or "no"."""
    shown = list(points)
    return ["yes" if can(method, shown) else "no" for method in METHODS]


def shape_of_state(points: Iterable[Point]) -> str:
    """The axes of a mixer's state behind batch and tap, or "none"."""
    state = next((point for point in points if point.name == STATE_PLACE), None)
    if state is None:
        return "none"
    return f"[{', '.join(state.axis_names[2:])}]{', complex' if state.is_complex else ''}"


def other_hooks(points: Iterable[Point]) -> str:
    """The names of the hooks that no column of a table says already."""
    return ", ".join(site_of(point.name) for point in points if point.name not in (STATE_PLACE, TRANSITION_PLACE, MIXING_PLACE))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
