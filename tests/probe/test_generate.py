"""Generation with hooks, taps, edits and a cache, step by step as in one pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label

from statescope import Attention, DeltaNet, Edit, LinearAttention, Model, ModelConfig, Tap, Transition
from statescope.probe.mixers import MixerConfig

PROMPT, COUNT = 5, 4
STATE = "blocks.0.attn.hook_state"


def small(mixer: MixerConfig | tuple[MixerConfig, ...], layers: int = 2) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=layers, mixer=mixer)).double().eval()


@pytest.fixture
def prompt() -> torch.Tensor:
    return torch.randint(0, 7, (3, PROMPT))


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_a_cache_of_generation_is_that_of_one_pass_over_what_was_generated(mixer: MixerConfig, prompt: torch.Tensor) -> None:
    model = small(mixer)
    names = [name for name in model.hook_names if not name.endswith("effective_attention")]
    taps = Tap(every=2) if mixer.has_state else None
    made, cache = model.generate_with_cache(prompt, COUNT, names_filter=names, taps=taps)
    assert torch.equal(made, model.generate(prompt, COUNT)) and made.shape == (3, PROMPT + COUNT)
    _, whole = model.run_with_cache(made, names_filter=names, taps=taps)
    assert set(cache) == set(whole) and cache.tap_positions == whole.tap_positions
    for name, value in whole.items():
        found = cache[name]
        parts = ("diagonal", "left", "right") if isinstance(value, Transition) else ()
        pairs = [(getattr(found, part), getattr(value, part)) for part in parts] or [(found, value)]
        for step_by_step, at_once in pairs:
            torch.testing.assert_close(step_by_step, at_once, rtol=1e-8, atol=1e-9, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer.has_state], ids=label)
def test_an_edit_changes_what_is_generated_behind_it(mixer: MixerConfig, prompt: torch.Tensor) -> None:
    """Token by token what one pass with the same edits finds likeliest."""
    model = small(mixer)
    edits = {
        STATE: [
            Edit(PROMPT - 1, "scale", torch.tensor(-3.0)),
            Edit(PROMPT + 1, "scale", torch.tensor(0.0)),
            Edit("last", "scale", torch.tensor(2.0)),
        ]
    }
    made, cache = model.generate_with_cache(prompt, COUNT, names_filter=STATE, taps="all", edits=edits)
    assert torch.equal(made, model.generate(prompt, COUNT, edits=edits))
    logits, whole = model.run_with_cache(made, names_filter=STATE, taps="all", edits=edits)
    assert torch.equal(made[:, PROMPT:], logits[:, PROMPT - 1 : -1].argmax(-1))
    torch.testing.assert_close(cache[STATE], whole[STATE], rtol=1e-8, atol=1e-10)
    assert cache[STATE][:, PROMPT + 1].abs().max() == 0


def test_a_readout_edit_during_generation(prompt: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    edits = {STATE: [Edit(PROMPT, "scale", torch.tensor(-9.0), verb="readout")]}
    name = "blocks.0.attn.hook_recurrence_out"
    made, cache = model.generate_with_cache(prompt, COUNT, names_filter=name, edits=edits)
    _, whole = model.run_with_cache(made, names_filter=name, edits=edits)
    torch.testing.assert_close(cache[name], whole[name], rtol=1e-8, atol=1e-10)
    _, plain = model.run_with_cache(made, names_filter=name)
    assert ((cache[name] - plain[name]).abs().amax((0, 2, 3)) > 1e-9).nonzero().flatten().tolist() == [PROMPT]


def test_hook_functions_see_states_at_taps_and_change_the_run(prompt: torch.Tensor) -> None:
    model, seen = small(DeltaNet(heads=2)), []

    def double(value: torch.Tensor, hook: Any) -> torch.Tensor:
        seen.append(value.shape[1])
        return 2 * value

    with model.hooks(fwd_hooks=[(STATE, double)]):
        made = model.generate(prompt, COUNT, taps=[PROMPT + 1, -1])
        with pytest.raises(ValueError, match="cannot fire in this run"):
            model.generate(prompt, COUNT)
    assert seen == [1, 1]
    edits = {STATE: [Edit(PROMPT + 1, "scale", torch.tensor(2.0))]}
    assert torch.equal(made, model.generate(prompt, COUNT, edits=edits))


def test_a_window_keeps_no_older_keys(prompt: torch.Tensor) -> None:
    model = small(Attention(heads=2, window=3))
    names = ["blocks.1.attn.hook_pattern", "blocks.1.attn.hook_attn_scores"]
    made, cache = model.generate_with_cache(prompt, COUNT, names_filter=names)
    _, whole = model.run_with_cache(made, names_filter=names)
    for name in names:
        torch.testing.assert_close(cache[name], whole[name])


def test_effective_attention_of_a_step_that_goes_on_from_a_state_is_refused(prompt: torch.Tensor) -> None:
    """The tokens before it are in the state, whose attention no step knows."""
    model = small(LinearAttention(heads=2))
    with pytest.raises(RuntimeError, match="goes on from a state"):
        model.generate_with_cache(prompt, COUNT, names_filter="blocks.0.attn.hook_effective_attention")


def test_what_a_cache_of_generation_would_hold_is_checked_first(prompt: torch.Tensor) -> None:
    model, fired = small(DeltaNet(heads=2)), []
    model.add_hook("hook_embed", lambda value, hook: fired.append(1))
    with pytest.raises(MemoryError, match="over the budget"):
        model.generate_with_cache(prompt, COUNT, taps="all", budget_bytes=1000)
    assert not fired
    with pytest.raises(IndexError, match="outside a sequence of 9 tokens"):
        model.generate_with_cache(prompt, COUNT, taps=9)
    made, cache = model.generate_with_cache(prompt, 0, taps="last")
    assert torch.equal(made, prompt) and cache["state", 0].shape[1] == 1
