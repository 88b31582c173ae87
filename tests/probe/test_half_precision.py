"""Mixers under autocast and in bfloat16: their gradients are a hand-written loop's, and what continues them is float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from torch import Tensor

from statescope import Model, ModelConfig
from statescope.kernels import dispatch
from statescope.kernels.recurrence import RecurrenceOutput
from statescope.probe.mixers import MixerConfig
from statescope.probe.mixers.base import HookedRMSNorm, RMSNorm
from statescope.probe.mixers.delta_net import unit
from statescope.probe.models.generate import stream_logits

STATES = [mixer for mixer in MIXERS if mixer.has_state]
NARROW = torch.bfloat16


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=7, width=12, layers=1, mixer=mixer))


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 7, (3, 20))


def gradient(model: Model, tokens: Tensor, *, autocast: bool = False, backward_inside: bool = False) -> Tensor:
    """All gradients in one vector. The backward pass of an autocast forward pass stands outside it, unless asked for."""
    model.zero_grad()
    with torch.autocast("cpu", NARROW, enabled=autocast):
        loss = model(tokens, return_type="loss")
        if backward_inside:
            loss.backward()
    if not backward_inside:
        loss.backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(x is not None for x in found)
    return torch.cat([x.flatten().float() for x in found])


def distance(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def by_hand(family: Any, tokens: dict[str, Any]) -> Tensor:
    """The read-out by a loop over S_t = A_t S_{t-1} + B_t, written with the ordinary operations of torch, which autocast rounds
    as it does anywhere.
    """
    of_state = tokens
    if "log_input" in tokens:  # the mLSTM without its running maximum
        ones = torch.ones_like(tokens["v"][..., :1])
        gated = tokens["k"] * tokens["log_input"].exp()[..., None]
        of_state = {"k": gated, "v": torch.cat([tokens["v"], ones], dim=-1), "log_decay": tokens["log_decay"]}
    transition, write = family.transition(of_state), family.write(of_state)
    vector = "q" not in tokens
    write = write[..., None] if vector else write
    write = write.to(torch.promote_types(write.dtype, transition.left.dtype))
    state, read = torch.zeros_like(write[:, 0]), []
    for t in range(write.shape[1]):
        before, state = state, transition[:, t].matmat(state) + write[:, t]
        if vector:
            read.append(state[..., 0])
            continue
        q = tokens["q"][:, t].to(state.dtype)
        now = torch.einsum("bhk,bhkv->bhv", q, before if "bonus" in tokens else state)
        if "bonus" in tokens:
            now = now + (q * tokens["bonus"] * tokens["k"][:, t]).sum(-1, keepdim=True) * tokens["v"][:, t]
        read.append(now.real if now.is_complex() else now)
    out = torch.stack(read, dim=1)
    if "log_input" in tokens:
        return out[..., :-1] / out[..., -1:].abs().clamp(min=1)
    return out if vector or out.shape[-1] == tokens["v"].shape[-1] else out[..., :-1] / out[..., -1:]


@pytest.mark.parametrize("backward_inside", [False, True])
@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_gradients_under_autocast(mixer: MixerConfig, backward_inside: bool, tokens: Tensor) -> None:
    """They are those of float32 to the precision of bfloat16."""
    model = small(mixer)
    truth = gradient(model, tokens)
    found = gradient(model, tokens, autocast=True, backward_inside=backward_inside)
    assert found.isfinite().all()
    assert 1e-5 < distance(found, truth) < 5e-2


@pytest.mark.parametrize("mixer", [mixer for mixer in STATES if small(mixer).mixer(0).recurrence.transition], ids=label)
def test_gradients_under_autocast_are_those_of_a_loop(
    mixer: MixerConfig, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the two memories of gated slot attention, those of the token loop."""
    model = small(mixer)
    found = gradient(model, tokens, autocast=True)
    module: Any = model.mixer(0)
    family = module.recurrence

    def loop(taps: Any = None, edits: Any = (), **given: Any) -> RecurrenceOutput:
        read = by_hand(family, given)
        return RecurrenceOutput(read.to(given["v"].dtype) if "v" in given else read, read, None, (), "by hand")

    if family.shows:
        monkeypatch.setattr(dispatch, "choose", lambda *_, **__: "reference")
    else:
        monkeypatch.setattr(module, "recurrence", replace(family, call=loop))
    written_out = gradient(model, tokens, autocast=True)
    assert distance(found, written_out) < 2e-2


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_a_model_in_bfloat16_trains(mixer: MixerConfig, tokens: Tensor) -> None:
    model = small(mixer).to(NARROW)
    found = gradient(model, tokens)
    assert {x.grad.dtype for x in model.parameters() if x.grad is not None} == {NARROW}
    assert distance(found, gradient(model.float(), tokens)) < 8e-2


@pytest.mark.parametrize("mixer", STATES, ids=label)
def test_what_continues_a_sequence_is_not_rounded(mixer: MixerConfig, tokens: Tensor) -> None:
    """A model in bfloat16 that goes on token by token is as near to float32 as one pass is."""
    model = small(mixer).to(NARROW)
    with torch.no_grad():
        whole = model(tokens).float()
        steps = list(stream_logits(model, tokens))
        truth = model.float()(tokens)
    carried = [x for _, memories in steps for memory in memories for x in memory["carry"].values()]
    assert carried
    assert {x.dtype for x in carried} <= {torch.float32, torch.complex64}
    continued = torch.stack([logits.float() for logits, _ in steps], dim=1)
    assert distance(continued, truth) < 1.5 * distance(whole, truth)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_of_what_half_precision_holds(dtype: torch.dtype) -> None:
    """Large enough that squares overflow, and zero."""
    large = torch.tensor([[300.0, -300.0, 300.0, 300.0]], dtype=dtype)
    for norm in (RMSNorm(4).to(dtype), HookedRMSNorm(4).to(dtype)):
        assert norm(large).dtype == dtype
        torch.testing.assert_close(norm(large).float(), large.float().sign(), rtol=5e-3, atol=0)
    assert torch.equal(unit(torch.zeros(2, 4, dtype=dtype)), torch.zeros(2, 4, dtype=dtype))
    torch.testing.assert_close(unit(large).float(), large.float().sign() / 2, rtol=5e-3, atol=0)
