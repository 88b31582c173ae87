"""The table of hooks, collected from what models, blocks and every mixer declare; and the page about mixers that follows from it.

`python -m statescope.probe.mixers.table > docs/mixers.md` writes the page again.
"""

from __future__ import annotations

from ..hooks.methods import METHODS, answers, markdown_table, other_hooks, shape_of_state
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


INTRODUCTION = """# Mixers

`ModelConfig(mixer="gated_delta_net")` takes a mixer by its name, with its defaults; `statescope.mixers` has the classes with
their settings. What can be done with a mixer follows from the hooks that it shows. `generate` goes on from its memory.
"""


def mixer_page() -> str:
    """Write the page about our mixers, in Markdown: a user's own are not on it."""
    own = [MixerConfig.of_kind(kind) for kind in sorted(MixerConfig.kinds())]
    own = [config for config in own if config.__module__.startswith(__package__ or "")]
    rows = ((one.kind, one.__name__, other_hooks(one.points), shape_of_state(one.points), *answers(one.points)) for one in own)
    lacks = ((one.kind, place_of(place), why) for one in own for place, why in one.absences.items())
    lines = [
        INTRODUCTION,
        *markdown_table(("mixer", "class", "hooks", "state", *METHODS), rows),
        "\n## What a mixer lacks, and why\n",
        *markdown_table(("mixer", "no", "why"), lacks),
    ]
    return "\n".join(lines)


def why_not(name: str, mixer: Mixer) -> str | None:
    """Why a mixer lacks a hook that others have; None for a name that no mixer has."""
    place = place_of(name)
    owners = sorted({kind for point, kinds in hook_table().items() if point.name == place for kind in kinds})
    if not owners:
        return None
    lacks = f"{mixer.kind} has no {place.removeprefix('attn.')}"
    if place in mixer.absences:
        return f"{lacks}: {mixer.absences[place]}"
    return f"{lacks}; it belongs to {', '.join(owners)}"


if __name__ == "__main__":
    print(mixer_page())  # noqa: T201
