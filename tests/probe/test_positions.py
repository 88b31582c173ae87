"""A request for positions means the same in taps, caches, captures, edits, patching and generation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN

from statescope import Attention, DeltaNet, Edit, GatedDeltaNet, Model, ModelConfig, Tap, capture, load, patch_states
from statescope.probe.interventions.patching import last_logit_difference
from statescope.probe.mixers import MixerConfig
from statescope.probe.tasks.base import Batch

T = 9
STATE = "blocks.0.attn.hook_state"
REQUESTS: list[tuple[Any, tuple[int, ...]]] = [
    ("all", tuple(range(T))),
    ("last", (8,)),
    (3, (3,)),
    (-2, (7,)),
    ([1, -3], (1, 6)),
    (torch.tensor([1, 4]), (1, 4)),
    (range(0, T, 4), (0, 4, 8)),
    (Tap(every=4), (3, 7)),
]
WRONG: list[tuple[Any, type[Exception], str]] = [
    (9, IndexError, "outside a sequence of 9 tokens"),
    ([0, -10], IndexError, "outside a sequence of 9 tokens"),
    ([4, 1], ValueError, "must increase"),
    ([4, -5], ValueError, "must increase"),
    ([], ValueError, "no positions"),
    ("first", ValueError, "'first' are not known"),
]


def small(mixer: MixerConfig | tuple[MixerConfig, ...]) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=2, mixer=mixer)).double().eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 7, (3, T))


@pytest.fixture
def batch(tokens: torch.Tensor) -> Batch:
    return Batch(tokens, tokens, {"parity": tokens % 2}, torch.arange(3))


@pytest.mark.parametrize(("request_", "positions"), REQUESTS, ids=str)
def test_each_request_everywhere(request_: Any, positions: tuple[int, ...], tokens: torch.Tensor, batch: Batch) -> None:
    model, at = small(GatedDeltaNet(heads=2)), list(positions)
    _, whole = model.run_with_cache(tokens, taps=list(range(T)))
    _, cut = model.run_with_cache(tokens, taps=request_, positions=request_)
    assert cut.tap_positions == positions
    assert torch.equal(cut[STATE], whole[STATE][:, at])
    assert torch.equal(cut["resid_mid", 1], whole["resid_mid", 1][:, at])
    captured = capture(model, [batch], [STATE, "hook_embed"], positions=request_)
    torch.testing.assert_close(captured.activations[STATE], whole[STATE][:, at])
    torch.testing.assert_close(captured.activations["hook_embed"], whole["hook_embed"][:, at])
    one_by_one = [Edit(position, "scale", torch.tensor(0.5)) for position in positions]
    expected = model.run_with_edits(tokens, {STATE: one_by_one})
    assert torch.equal(model.run_with_edits(tokens, {STATE: [Edit(request_, "scale", torch.tensor(0.5))]}), expected)
    _, grown = model.generate_with_cache(
        tokens[:, :5], T - 5, names_filter=[STATE, "hook_embed"], taps=request_, positions=request_
    )
    assert grown[STATE].shape == cut[STATE].shape and grown["hook_embed"].shape == cut["hook_embed"].shape
    if positions[-1] < T - 1:
        metric = last_logit_difference(1, 2)
        assert patch_states(model, tokens[:1], tokens[1:2], metric, request_).positions == positions


@pytest.mark.parametrize(("request_", "error", "text"), WRONG, ids=str)
def test_each_wrong_request_everywhere(
    request_: Any, error: type[Exception], text: str, tokens: torch.Tensor, batch: Batch
) -> None:
    model = small(GatedDeltaNet(heads=2))
    for take in (
        lambda: model.run_with_cache(tokens, taps=request_),
        lambda: model.run_with_cache(tokens, positions=request_),
        lambda: capture(model, [batch], ["hook_embed"], positions=request_),
        lambda: model.run_with_edits(tokens, {STATE: [Edit(request_, "scale", torch.tensor(0.5))]}),
        lambda: patch_states(model, tokens[:1], tokens[1:2], last_logit_difference(1, 2), request_),
        lambda: model.generate_with_cache(tokens[:, :5], T - 5, taps=request_),
        lambda: model.generate_with_cache(tokens[:, :5], T - 5, positions=request_),
    ):
        with pytest.raises(error, match=text):
            take()


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_last_is_the_last_token_of_each_row_where_padding_is_given(mixer: MixerConfig, tokens: torch.Tensor) -> None:
    model, lengths = small(mixer), [4, 9, 6]
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    run: dict[str, Any] = {"taps": "last"} if mixer.has_state else {}
    _, padded = model.run_with_cache(tokens, positions="last", attention_mask=mask, **run)
    assert padded.tap_positions == ((-1,) if run else ())
    for row, length in enumerate(lengths):
        _, alone = model.run_with_cache(tokens[row : row + 1, :length], positions="last", **run)
        assert set(alone) == set(padded)
        for name, value in alone.items():
            torch.testing.assert_close(padded[name][row : row + 1], value, rtol=1e-9, atol=1e-10)
    hooks = ["blocks.0.attn.hook_transition"] if "blocks.0.attn.hook_transition" in model.hook_dict else []
    for name in hooks:
        _, padded = model.run_with_cache(tokens, names_filter=name, positions="last", attention_mask=mask)
        _, whole = model.run_with_cache(tokens, names_filter=name)
        assert torch.equal(padded[name].diagonal[0, 0], whole[name].diagonal[0, 3])


def test_the_loss_does_not_count_padding(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    mask = torch.arange(T) < torch.tensor([4, 9, 6])[:, None]
    losses = [model(tokens[row : row + 1, :n], return_type="loss") * (n - 1) for row, n in enumerate([4, 9, 6])]
    torch.testing.assert_close(model(tokens, return_type="loss", attention_mask=mask), sum(losses) / (3 + 8 + 5))


def test_masks_that_do_not_fit_are_refused(tokens: torch.Tensor) -> None:
    model = small(DeltaNet(heads=2))
    mask = torch.ones(3, T)
    with pytest.raises(ValueError, match=r"attention_mask has shape \(3, 4\); it needs \[3, 9\]"):
        model.run_with_cache(tokens, attention_mask=mask[:, :4])
    with pytest.raises(ValueError, match="pad on the right"):
        model(tokens, attention_mask=mask.flip(1).cumsum(1) > 2)
    with pytest.raises(ValueError, match="row 1 of attention_mask has no token"):
        model.run_with_cache(tokens, taps="last", attention_mask=mask * torch.tensor([1, 0, 1])[:, None])


def test_positions_of_patterns_are_those_of_queries(tokens: torch.Tensor) -> None:
    model = small(Attention(heads=2))
    name = "blocks.0.attn.hook_pattern"
    _, whole = model.run_with_cache(tokens, names_filter=name)
    _, cut = model.run_with_cache(tokens, names_filter=name, positions=[2, -1])
    assert model.points[name].position_axis == 2
    assert torch.equal(cut[name], whole[name][:, :, [2, 8]])
    mask = torch.arange(T) < torch.tensor([4, 9, 6])[:, None]
    _, rows = model.run_with_cache(tokens, names_filter=name, positions="last", attention_mask=mask)
    assert torch.equal(rows[name][:, :, 0], whole[name][torch.arange(3), :, [3, 8, 5]])


@pytest.mark.parametrize("left", [False, True])
def test_last_of_each_row_of_a_padded_batch_in_a_loaded_model(left: bool) -> None:
    model, lengths, name = load(FOREIGN["mamba2"]()), [4, 9], "blocks.1.hook_resid_post"
    tokens = torch.randint(3, 31, (2, T))
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    tokens, mask = (x.flip(1) if left else x for x in (tokens, mask))
    with torch.no_grad():
        run: dict[str, Any] = {"names_filter": [name, STATE], "positions": "last", "taps": "last"}
        _, padded = model.run_with_cache(tokens, attention_mask=mask.long(), **run)
        for row, own in enumerate(mask):
            _, alone = model.run_with_cache(tokens[row : row + 1, own], **run)
            for hook in (name, STATE):
                torch.testing.assert_close(padded[hook][row : row + 1], alone[hook], rtol=1e-4, atol=1e-5)
