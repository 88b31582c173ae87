"""Mixers that a study compares, each by the name that its results and the folder of its checkpoints have."""

from __future__ import annotations

from collections.abc import Sequence

from ...probe.configuration import BadSettingError
from ...probe.files import as_file_name
from ...probe.mixers import MixerConfig


def check_names(names: Sequence[str], mixers: Sequence[MixerConfig]) -> None:
    """Raises BadSettingError unless each mixer has a name of its own, as the name of a folder too (see `as_file_name`)."""
    if len(names) != len(mixers):
        raise BadSettingError(f"names: {len(names)} names for {len(mixers)} mixers; each needs one of its own")
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        same = first.setdefault(as_file_name(name), place)
        if same != place:
            raise BadSettingError(f"names: {names[same]!r} and {name!r} are one as the name of a folder; rename one")
