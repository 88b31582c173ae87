"""Half precision tokens: what continues a recurrence is float32, quotients are rounded last, and autocast ends at the call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recurrences import ONE_OF_EACH, RECURRENCES, relative, span
from torch import Tensor

from statescope import (
    cell_scan,
    dense_scan,
    diagonal_scan,
    effective_attention,
    gate_loop,
    gated_slot_attention,
    linear_attention,
)
from statescope.kernels.cell_scan import CELLS

HALVES = (torch.bfloat16, torch.float16)
FAMILIES = (*ONE_OF_EACH, "normalised")


def continuing(out: Any) -> list[Tensor]:
    """All that another call starts from, and the states at taps."""
    return [x for name, x in vars(out).items() if isinstance(x, Tensor) and name not in ("output", "slots")]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_a_sequence_may_be_cut_anywhere(name: str, dtype: torch.dtype, implementation: str) -> None:
    """Token by token the error against float64 is that of one call."""
    recurrence = RECURRENCES[name]
    inputs = {key: x.to(dtype) for key, x in recurrence.make(2, 60, 2, 8, 6, torch.float64, 3).items()}
    if "beta" in inputs:
        inputs["k"] = torch.nn.functional.normalize(inputs["k"].float(), dim=-1).to(dtype)
    how = {"unit_keys": False} if "beta" in inputs else {}
    truth = recurrence.call(**{key: x.double() for key, x in inputs.items()}, **how)
    whole = recurrence.call(**inputs, **how, taps=[9], implementation=implementation)
    outputs, start = [], {}
    for t in range(60):
        out = recurrence.call(**span(inputs, t, t + 1), **how, **start, implementation=implementation)
        outputs.append(out.output)
        start = recurrence.resume(out)
        assert {x.dtype for x in continuing(out)} == {torch.float32}
    assert {x.dtype for x in continuing(whole)} == {torch.float32}
    assert whole.output.dtype == dtype
    found = torch.cat(outputs, dim=1)
    assert relative(found, truth.output) <= 1.2 * relative(whole.output, truth.output)
    assert relative(whole.output, truth.output) <= 3 * torch.finfo(dtype).eps
    assert relative(out.final_state, truth.final_state) <= 1e-5


@pytest.mark.parametrize("value", [0.5, 2.0])
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_a_normaliser_beyond_half_precision(value: float, implementation: str) -> None:
    """z . q is 65536, which float16 does not hold, and each output is the mean of equal values."""
    a = torch.full((1, 4, 1, 64), 16.0).half()
    out = linear_attention(a, a, torch.full((1, 4, 1, 2), value).half(), normalise=True, implementation=implementation)
    assert out.output.dtype == torch.float16
    assert (out.output == value).all()


def test_the_states_of_scans_and_cells_are_float32() -> None:
    x, decay = torch.randn(2, 7, 2, 3).bfloat16(), torch.rand(2, 7, 2, 3).bfloat16()
    for out in (
        diagonal_scan(x, decay, taps=[3]),
        dense_scan(x, 0.3 * torch.randn(2, 3, 3).bfloat16(), taps=[3]),
        *(
            cell_scan(
                name, torch.randn(2, 7, 2, len(c.gates), 3).bfloat16(), torch.randn(2, len(c.gates), 3, 3).bfloat16(), taps=[3]
            )
            for name, c in CELLS.items()
        ),
        gated_slot_attention(x, x, x, torch.rand(2, 7, 2, 4).bfloat16(), -torch.rand(2, 7, 2, 4).bfloat16(), taps=[3]),
    ):
        assert {part.dtype for part in continuing(out)} == {torch.float32}
    out = gate_loop(x, x, x, -decay, decay, taps=[3])
    assert {part.dtype for part in continuing(out)} == {torch.complex64}
    assert out.output.dtype == torch.bfloat16


@pytest.mark.parametrize("name", [*FAMILIES, "linear", "delta"])
def test_autocast_changes_nothing(name: str) -> None:
    """Forward and backward, with the backward pass inside and outside, to the bit."""
    recurrence = RECURRENCES[name]
    made = recurrence.make(2, 40, 2, 8, 6, torch.float32, 3)
    results = []
    for forward, backward in ((False, False), (True, False), (True, True)):
        inputs = {key: x.clone().requires_grad_() for key, x in made.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=forward):
            out = recurrence.call(**inputs, taps=[7])
        with torch.autocast("cpu", torch.bfloat16, enabled=backward):
            loss = out.output.square().sum() + out.states.sum()
            results.append([out.output, out.states, *torch.autograd.grad(loss, list(inputs.values()))])
    for plain, outside, inside in zip(*results, strict=True):
        assert torch.equal(plain, outside)
        assert relative(inside, plain) <= 1e-2


def test_an_effective_attention_under_autocast() -> None:
    inputs = RECURRENCES["delta-decay"].make(2, 20, 2, 8, 6, torch.float32, 3)
    given = {key: inputs[key] for key in ("q", "k", "beta", "log_decay")}
    with torch.autocast("cpu", torch.bfloat16):
        found = effective_attention(**given)
    assert torch.equal(found, effective_attention(**given))
