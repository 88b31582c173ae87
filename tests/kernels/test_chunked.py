"""The chunked forms against the token loop: outputs, states and every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recurrences import RECURRENCES, Inputs, Recurrence, relative
from torch import Tensor

from statescope import Edit
from statescope.kernels import delta_rule as module

WINDOW = 16


def leaves(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return {name: x.detach().to(dtype).requires_grad_() for name, x in inputs.items()}


def everything(
    recurrence: Recurrence, inputs: Inputs, state: Tensor, value: Tensor, length: int, **how: object
) -> dict[str, Tensor]:
    """Output, final state, tapped states, and the gradient of a random function of them by every input."""
    dtype = state.dtype
    inputs, state, value = leaves(inputs, dtype), state.detach().requires_grad_(), value.detach().requires_grad_()
    taps = sorted({0, length // 3, length // 2, length - 1})
    edits = [Edit(length // 2, "add", value)]
    if recurrence.readouts:
        edits.append(Edit(length // 3, "reflect_key", value[:, :, :, 0], verb="readout"))
    out = recurrence.call(**inputs, initial_state=state, taps=taps, edits=edits, **how)
    found = {"output": out.output, "final_state": out.final_state, "states": out.states}
    generator = torch.Generator().manual_seed(7)
    weights = {name: torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for name, x in found.items()}
    loss = sum((found[name] * weights[name]).sum() for name in found)
    targets = {**inputs, "initial_state": state, "edit": value}
    gradients = torch.autograd.grad(loss, list(targets.values()))
    return found | {f"d {name}": gradient for name, gradient in zip(targets, gradients, strict=True)}


def compare(name: str, length: int, chunk: int, dtype: torch.dtype, tolerance: float) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, length, 2, 12, 8, dtype, length)
    state, value = torch.randn(2, 2, 2, 12, 8 + recurrence.extra_columns, dtype=dtype).unbind(0)
    if name == "normalised":
        state, value = state.abs(), value.abs()
    truth = everything(recurrence, inputs, state.double(), value.double(), length, implementation="reference")
    found = everything(recurrence, inputs, state, value, length, implementation="chunked", chunk=chunk)
    for what, exact in truth.items():
        assert relative(found[what], exact) <= tolerance, what
        if exact.ndim > 1 and exact.shape[1] == length and what != "states":
            scale = exact.double().norm() / length**0.5
            for window in range(0, length, WINDOW):
                part = slice(window, window + WINDOW)
                error = (found[what][:, part].double() - exact[:, part]).norm()
                assert error <= tolerance * max(exact[:, part].norm(), scale), (what, window)


@pytest.mark.parametrize("length", [1, 2, 17, 63, 101, 200])
@pytest.mark.parametrize("name", RECURRENCES)
def test_float64(name: str, length: int) -> None:
    compare(name, length, 32, torch.float64, 1e-10)


@pytest.mark.parametrize("chunk", [16, 32, 64, 128])
@pytest.mark.parametrize("name", RECURRENCES)
def test_every_chunk(name: str, chunk: int) -> None:
    compare(name, 150, chunk, torch.float64, 1e-10)


@pytest.mark.parametrize("chunk", [16, 64, 128])
@pytest.mark.parametrize("name", RECURRENCES)
def test_float32(name: str, chunk: int) -> None:
    compare(name, 150, chunk, torch.float32, 1e-5)


def test_the_comparison_rejects_a_wrong_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping what a delta rule erases (as plain linear attention would) is seen."""
    terms = module.chunked.terms

    def without_erase(*arguments: Tensor) -> object:
        return replace(terms(*arguments), erase=None)

    monkeypatch.setattr(module, "FAMILY", replace(module.FAMILY, terms=without_erase))
    with pytest.raises(AssertionError):
        compare("delta-decay", 101, 32, torch.float64, 1e-10)
