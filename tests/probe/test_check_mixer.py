"""`check_mixer` passes each mixer of ours, and names what is wrong with one that is broken in any of the ways that it lists."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from recipes import forgotten_afterwards, recipe

from statescope import Model, ModelConfig
from statescope.mixers import MATRIX_STATE, Attention, MixerConfig, Point, check_mixer
from statescope.probe.mixers.check import UnfitMixerError


@pytest.mark.parametrize("mixer", [*MIXERS, Attention(heads=2, key_size=4, value_size=6, window=3)], ids=label)
def test_ours_hold(mixer: MixerConfig) -> None:
    check_mixer(mixer)


@pytest.fixture
def relaxing(tmp_path: Path) -> Iterator[Any]:
    """The module of a mixer that a user wrote."""
    recipe("A mixer on a fast call").write(tmp_path)
    sys.path.insert(0, str(tmp_path))
    with forgotten_afterwards():
        import relaxing  # type: ignore[import-not-found]

        yield relaxing
    sys.path.remove(str(tmp_path))
    del sys.modules["relaxing"]


def broken(relaxing: Any, **changes: Any) -> MixerConfig:
    """The user's mixer with methods or attributes of its module, or its points, replaced."""
    points = changes.pop("points", relaxing.Relaxing.points)
    module = type("BrokenMixer", (relaxing.RelaxingMixer,), changes)

    def build(self: Any, width: int, generator: torch.Generator, layer: int = 0, layers: int = 1) -> Any:
        return module(self, width, generator)

    made = dataclasses.dataclass(frozen=True)(type("Broken", (relaxing.Relaxing,), {"points": points, "build": build}))
    config: MixerConfig = made(heads=2, key_size=4, value_size=6)
    return config


def with_recurrence(relaxing: Any, **changes: Any) -> MixerConfig:
    return broken(relaxing, recurrence=dataclasses.replace(relaxing.RELAXING, **changes))


def test_what_is_broken_is_named(relaxing: Any) -> None:
    check_mixer(broken(relaxing))
    own, call, points = relaxing.RelaxingMixer, relaxing.relax, relaxing.Relaxing.points

    def unseeded(self: Any, config: Any, width: int, generator: Any) -> None:
        own.__init__(self, config, width, torch.Generator().manual_seed(torch.seed()))

    def seeing_ahead(self: Any, x: Any, request: Any) -> Any:
        return own.forward(self, x, request) + x.mean(1, keepdim=True)

    def forgetful(self: Any, x: Any, request: Any) -> Any:
        return own.forward(self, x, dataclasses.replace(request, memory=None))

    def uneditable(*, edits: Any = (), **how: Any) -> Any:
        return call(**how)

    def one_late(tokens: Any) -> Any:
        return relaxing.RELAXING.transition({**tokens, "log_decay": tokens["log_decay"].roll(1, 1)})

    for config, reason in (
        (broken(relaxing, __init__=unseeded), "two modules of one generator differ"),
        (broken(relaxing, forward=seeing_ahead), "changes with the tokens behind it"),
        (broken(relaxing, forward=forgetful), r"goes through request\.memory"),
        (broken(relaxing, forward=lambda self, x, request: own.forward(self, x, request)[..., :3]), "shape of the input"),
        (broken(relaxing, points=(*points, Point("attn.hook_u", "batch position", "u"))), "hook_u .* fire it"),
        (
            broken(relaxing, points=tuple(dataclasses.replace(p, axes=p.axes.replace("tap ", "")) for p in points)),
            r"hook_state is \[2, 9, 2, 4, 6\], and its axes are said to be batch 2, head 2, key 4, value 6",
        ),
        (
            broken(relaxing, points=tuple(dataclasses.replace(p, is_complex="_q" in p.name) for p in points)),
            "hook_q is torch.float64; its point says complex",
        ),
        (with_recurrence(relaxing, call=uneditable), "hand request.edits on"),
        (with_recurrence(relaxing, transition=None), "hook_transition .* Recurrence's `transition` shows it"),
        (with_recurrence(relaxing, transition=one_late), r"do not follow A_t S_\(t-1\) \+ B_t"),
        (with_recurrence(relaxing, write=lambda tokens: 2 * relaxing.RELAXING.write(tokens)), r"do not follow A_t S_\(t-1\)"),
        (with_recurrence(relaxing, attention=lambda tokens: relaxing.RELAXING.attention(tokens).mT), "not its `call`'s"),
    ):
        with pytest.raises(UnfitMixerError, match=reason):
            check_mixer(config)


@pytest.mark.parametrize("place", [point.name for point in MATRIX_STATE[2:]])
def test_a_hook_that_is_declared_and_not_shown_raises_where_it_is_asked_for(place: str, relaxing: Any) -> None:
    """Before, the cache was without it, and a function there changed nothing."""
    hidden = {place.removeprefix("attn.hook_").replace("effective_", ""): None}
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=with_recurrence(relaxing, **hidden)))
    with pytest.raises(ValueError, match=rf"blocks.0.{place} is declared and did not fire: .*check_mixer"):
        model.run_with_cache(torch.zeros(1, 4, dtype=torch.long), names_filter=f"*.{place}", taps=[2])
    with pytest.raises(ValueError, match=rf"blocks.0.{place} is declared and did not fire"):
        model.run_with_hooks(
            torch.zeros(1, 4, dtype=torch.long), fwd_hooks=[(f"*.{place}", lambda value, hook: 2 * value)], taps=[2]
        )
