"""GateLoop against the complex recurrence, token by token."""

from __future__ import annotations

import math

import pytest
import torch
from recurrences import relative
from torch import Tensor

from statescope import Edit, gate_loop

B, T, H, K, V = 2, 41, 2, 5, 4
IMPLEMENTATIONS = ("reference", "chunked")


def make(batch: int = B) -> dict[str, Tensor]:
    q, k = torch.randn(2, batch, T, H, K).double().unbind(0)
    log_decay, phase = -torch.rand(batch, T, H, K).double(), 6 * torch.rand(batch, T, H, K).double() - 3
    return {"q": q, "k": k, "v": torch.randn(batch, T, H, V).double(), "log_decay": log_decay, "phase": phase}


def loop(inputs: dict[str, Tensor], state: Tensor, change: dict[int, Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
    outputs, states = [], []
    for t in range(inputs["q"].shape[1]):
        gate = torch.polar(inputs["log_decay"][:, t].exp(), inputs["phase"][:, t])
        state = gate[..., None] * state + inputs["k"][:, t, :, :, None] * inputs["v"][:, t, :, None]
        outputs.append(torch.einsum("bhk,bhkv->bhv", inputs["q"][:, t].to(state.dtype), state).real)
        state = state + (change or {}).get(t, 0)
        states.append(state)
    return torch.stack(outputs, 1), states


def close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-12 * (1 + expected.abs().max())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_it_is_the_complex_recurrence(implementation: str) -> None:
    inputs = make()
    state, added = (torch.randn(B, H, K, V, dtype=torch.complex128) for _ in range(2))
    expected, states = loop(inputs, state, {20: added})
    out = gate_loop(
        **inputs, initial_state=state, taps=[7, 20, 33], edits=[Edit(20, "add", added)], implementation=implementation
    )
    close(out.output, expected)
    close(out.final_state, states[-1])
    for slot, position in enumerate((7, 20, 33)):
        close(out.states[:, slot], states[position])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_packed_sequences_are_separate_sequences(implementation: str) -> None:
    inputs, bounds = make(batch=1), torch.tensor([0, 9, 10, T])
    state = torch.randn(3, H, K, V, dtype=torch.complex128)
    out = gate_loop(**inputs, cu_seqlens=bounds, initial_state=state, taps="last", implementation=implementation)
    for s, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        expected, states = loop({name: x[:, a:b] for name, x in inputs.items()}, state[s : s + 1])
        close(out.output[:, a:b], expected)
        close(out.final_state[s], states[-1][0])
        close(out.states[:, s], states[-1])


def test_derivatives() -> None:
    inputs = {name: x[:1, :6, :1, :3].contiguous() for name, x in make().items()}
    inputs["log_decay"] = inputs["log_decay"] - 0.01
    state = torch.randn(1, 1, 3, inputs["v"].shape[-1], dtype=torch.complex128)

    def call(state: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        out = gate_loop(**dict(zip(inputs, tensors, strict=True)), initial_state=state, taps=[2], chunk=4)
        return out.output, out.states

    assert torch.autograd.gradcheck(call, tuple(x.requires_grad_() for x in (state, *inputs.values())))


def test_a_phase_of_zero_is_gated_linear_attention() -> None:
    from statescope import gated_linear_attention

    inputs = make()
    plain = gated_linear_attention(**{name: x for name, x in inputs.items() if name != "phase"})
    assert relative(gate_loop(**{**inputs, "phase": torch.zeros_like(inputs["phase"])}).output, plain.output) < 1e-12


def test_it_counts_modulo_m_at_any_length() -> None:
    """|a| = 1 and angle 2 pi x / m: the state's angle is the count. A positive real decay cannot turn."""
    m, length = 5, 3000
    steps = torch.randint(0, m, (1, length, 1, 1))
    write = torch.zeros(1, length, 1, 1).double()
    write[:, 0] = 1
    turn = 2 * math.pi * steps.double() / m
    turn[:, 0] = 0
    inputs = {"q": torch.ones_like(write), "k": write, "v": torch.ones_like(write), "log_decay": torch.zeros_like(write)}
    out = gate_loop(**inputs, phase=turn, taps=list(range(0, length, 250)))
    counted = (out.states.angle().flatten() * m / (2 * math.pi)).round().long() % m
    expected = (steps.flatten()[1:].cumsum(0) % m)[[p - 1 for p in out.tap_positions[1:]]]
    assert counted[1:].tolist() == expected.tolist()


def test_bad_edits() -> None:
    inputs = make()
    with pytest.raises(ValueError, match="takes set, add and scale"):
        gate_loop(**inputs, edits=[Edit(1, "reflect_key", torch.ones(K))])
    with pytest.raises(ValueError, match="one real number"):
        gate_loop(**inputs, edits=[Edit(1, "scale", torch.ones(K, V))])
