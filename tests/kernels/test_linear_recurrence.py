"""The recurrence of any transition against the calls that have kernels of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from statescope import Edit, Transition, delta_rule, diagonal_plus_low_rank, gated_linear_attention
from statescope.kernels.effective_attention import effective_attention
from statescope.kernels.gate_loop import gate_loop, gate_loop_effective_attention
from statescope.kernels.linear_recurrence import linear_recurrence, linear_recurrence_attention
from statescope.kernels.operators.transition import householder_write

B, T, H, K, V = 2, 11, 2, 4, 3
G = torch.Generator().manual_seed(3)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(B, T, H, *shape, generator=G, dtype=torch.float64)


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def outer(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return k[..., :, None] * v[..., None, :]


q, k, v, beta, g = draw(K), draw(K), draw(V), draw().sigmoid(), -draw(K).abs()
a, b, phase = unit(draw(K)), -0.3 * unit(draw(K)), draw(K)
CASES: dict[str, tuple[Callable[..., Any], dict[str, torch.Tensor], Transition, torch.Tensor]] = {
    "gated": (gated_linear_attention, {"k": k, "v": v, "log_decay": g}, Transition.diagonal_only(g, K), outer(k, v)),
    "delta": (
        delta_rule,
        {"k": unit(k), "v": v, "beta": beta},
        Transition.householders(unit(k)[..., None, :], beta[..., None]),
        householder_write(unit(k)[..., None, :], v[..., None, :], beta[..., None]),
    ),
    "low rank": (
        diagonal_plus_low_rank,
        {"k": k, "v": v, "a": a, "b": b, "log_decay": g},
        Transition.diagonal_plus_low_rank(a, b, g),
        outer(k, v),
    ),
    "complex": (
        gate_loop,
        {"k": k, "v": v, "log_decay": g, "phase": phase},
        Transition.diagonal_only(torch.complex(g, phase), K),
        outer(k, v),
    ),
}
EDITS = [
    Edit(2, "scale", torch.tensor(-0.5)),
    Edit(5, "project_out_key", torch.randn(K, generator=G).double()),
    Edit(5, "add", torch.ones(K, V).double(), heads=(1,)),
    Edit(8, "scale", torch.tensor(3.0), verb="readout"),
    Edit(8, "project_out_value", torch.randn(V, generator=G).double(), verb="readout"),
]


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_recurrence_that_has_a_kernel(name: str) -> None:
    call, tokens, transition, write = CASES[name]
    start = torch.randn(B, H, K, V, generator=G, dtype=torch.float64)
    edits = [edit for edit in EDITS if name != "complex" or edit.operation in ("add", "scale")]
    asked: dict[str, Any] = {"initial_state": start, "taps": [1, 5, -1], "edits": edits}
    found, known = linear_recurrence(q, transition, write, **asked), call(q, **tokens, **asked)
    for part in ("output", "final_state", "states"):
        torch.testing.assert_close(getattr(found, part), getattr(known, part), rtol=1e-11, atol=1e-12)
    assert found.tap_positions == known.tap_positions == (1, 5, 10) and found.implementation == "reference"
    wrong = linear_recurrence(q, transition, write, initial_state=start)
    assert (wrong.output - found.output).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["gated", "low rank", "complex"])
def test_attention_times_values_is_the_output(name: str) -> None:
    _, tokens, transition, write = CASES[name]
    mixing = linear_recurrence_attention(q, tokens["k"], transition)
    output = linear_recurrence(q, transition, write).output
    torch.testing.assert_close(torch.einsum("bhts,bshv->bthv", mixing, v), output, rtol=1e-11, atol=1e-12)
    rest = {part: x for part, x in tokens.items() if part not in ("k", "v")}
    known = gate_loop_effective_attention(q, k, g, phase) if name == "complex" else effective_attention(q, k, **rest)
    torch.testing.assert_close(mixing, known, rtol=1e-10, atol=1e-12)


def test_gradients_flow_through_every_argument() -> None:
    inputs = [x.clone().requires_grad_() for x in (q, a, b, g, outer(k, v))]

    def run(*given: torch.Tensor) -> torch.Tensor:
        own_q, own_a, own_b, own_g, write = (x[:1, :4, :1] for x in given)
        transition = Transition.diagonal_plus_low_rank(own_a, own_b, own_g)
        return linear_recurrence(own_q, transition, write, taps=[1], edits=[Edit(0, "scale", torch.tensor(2.0))]).output

    assert torch.autograd.gradcheck(run, inputs)


def test_what_does_not_fit_is_named() -> None:
    _, _, transition, write = CASES["gated"]
    with pytest.raises(ValueError, match=r"transition is of \(2, 10, 2\) tokens and size 4"):
        linear_recurrence(q, transition[:, 1:], write)
    with pytest.raises(ValueError, match="write has shape"):
        linear_recurrence(q, transition, write[..., 0])
    with pytest.raises(ValueError, match="write is nan"):
        linear_recurrence(q, transition, write / 0 * 0)
    with pytest.raises(IndexError, match="outside a sequence of 11 tokens"):
        linear_recurrence(q, transition, write, taps=11)
