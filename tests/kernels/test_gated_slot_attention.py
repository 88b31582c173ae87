"""Gated slot attention against its recurrence, slot by slot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recurrences import relative
from torch import Tensor

from statescope import Edit, gated_slot_attention

B, T, H, K, V, M = 2, 50, 2, 6, 5, 4
IMPLEMENTATIONS = ("reference", "chunked")


def make(batch: int = B, decay: float = 1.0) -> dict[str, Tensor]:
    q, k = torch.randn(2, batch, T, H, K).double().unbind(0)
    log_decay = -decay * torch.rand(batch, T, H, M).double()
    return {"q": q, "k": k, "v": torch.randn(batch, T, H, V).double(), "write": 1 - log_decay.exp(), "log_decay": log_decay}


def loop(inputs: dict[str, Tensor], keys: Tensor, values: Tensor, at: int = -1, key: Any = 0, value: Any = 0) -> dict[str, Any]:
    outputs, memories = [], []
    for t in range(inputs["q"].shape[1]):
        gate, write = inputs["log_decay"][:, t].exp()[..., None], inputs["write"][:, t][..., None]
        keys = gate * keys + write * inputs["k"][:, t, :, None]
        values = gate * values + write * inputs["v"][:, t, :, None]
        weights = (keys @ inputs["q"][:, t, :, :, None]).softmax(-2)
        outputs.append((weights.mT @ values).squeeze(-2))
        if t == at:
            keys, values = keys + key, values + value
        memories.append((keys, values))
    return {"output": torch.stack(outputs, 1), "memories": memories}


@pytest.mark.parametrize("decay", [1.0, 20.0])
@pytest.mark.parametrize("chunk", [16, 32, 64])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_it_is_the_slot_recurrence(implementation: str, chunk: int, decay: float) -> None:
    inputs = make(decay=decay)
    keys, values = torch.randn(B, H, M, K).double(), torch.randn(B, H, M, V).double()
    key, value = torch.randn(B, H, M, K).double(), torch.randn(B, H, M, V).double()
    truth = loop(inputs, keys, values, 21, key, value)
    out = gated_slot_attention(
        **inputs,
        initial_keys=keys,
        initial_values=values,
        taps=[3, 21, 40],
        key_edits=[Edit(21, "add", key)],
        value_edits=[Edit(21, "add", value)],
        implementation=implementation,
        chunk=chunk,
    )
    assert relative(out.output, truth["output"]) < 1e-12
    for slot, position in enumerate((3, 21, 40)):
        assert relative(out.key_states[:, slot], truth["memories"][position][0]) < 1e-12
        assert relative(out.value_states[:, slot], truth["memories"][position][1]) < 1e-12
    assert relative(out.final_keys, truth["memories"][-1][0]) < 1e-12
    assert relative(out.final_values, truth["memories"][-1][1]) < 1e-12


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_packed_sequences_are_separate_sequences(implementation: str) -> None:
    inputs, bounds = make(batch=1), torch.tensor([0, 9, 10, T])
    keys, values = torch.randn(3, H, M, K).double(), torch.randn(3, H, M, V).double()
    out = gated_slot_attention(
        **inputs, cu_seqlens=bounds, initial_keys=keys, initial_values=values, implementation=implementation, chunk=16
    )
    for s, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        truth = loop({name: x[:, a:b] for name, x in inputs.items()}, keys[s : s + 1], values[s : s + 1])
        assert relative(out.output[:, a:b], truth["output"]) < 1e-12
        assert relative(out.final_keys[s], truth["memories"][-1][0][0]) < 1e-12


def test_the_output_lies_in_the_hull_of_the_slots() -> None:
    inputs = make()
    out = gated_slot_attention(**inputs, taps=[T - 1])
    values = out.value_states[:, 0]
    assert (out.slots.sum(-1) - 1).abs().max() < 1e-12
    assert (out.output[:, -1] <= values.amax(-2) + 1e-12).all()
    assert (out.output[:, -1] >= values.amin(-2) - 1e-12).all()


def test_derivatives() -> None:
    inputs = {name: x[:1, :6, :1].contiguous() for name, x in make().items()}
    inputs["log_decay"] = inputs["log_decay"] - 0.01
    added = torch.randn(1, 1, M, K).double()

    def call(added: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(inputs, tensors, strict=True))
        out = gated_slot_attention(**named, taps=[2], key_edits=[Edit(3, "add", added)], chunk=4)
        return out.output, out.key_states

    assert torch.autograd.gradcheck(call, tuple(x.requires_grad_() for x in (added, *inputs.values())))


def test_it_is_flas_loop() -> None:
    """The recurrence of flash-linear-attention's naive form, in its own words: [K, M] memories of keys."""
    inputs = make()
    memory, expected = torch.zeros(B, H, K, M).double(), []
    for t in range(T):
        gate = inputs["log_decay"][:, t].exp()
        memory = memory * gate[..., None, :] + inputs["k"][:, t, :, :, None] * inputs["write"][:, t, :, None]
        expected.append((inputs["q"][:, t, :, :, None] * memory).sum(-2).softmax(-1))
    assert relative(gated_slot_attention(**inputs).slots, torch.stack(expected, 1)) < 1e-12


def test_bad_input() -> None:
    inputs = make()
    with pytest.raises(ValueError, match="read-out edit of the memory of keys"):
        gated_slot_attention(**inputs, key_edits=[Edit(1, "scale", torch.tensor(0.5), verb="readout")])
    with pytest.raises(ValueError, match=r"write has shape .* \(H\)"):
        gated_slot_attention(**{**inputs, "write": inputs["write"][:, :, :1]})
