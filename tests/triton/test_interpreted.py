"""The Triton kernels against the chunked twin: `TRITON_INTERPRET=1 pytest tests/triton/test_interpreted.py` has them interpreted.

The interpreter computes in float32 and float16 as a GPU would (its bfloat16 is silently wrong, and it rounds nothing to tf32).
Buffers that a kernel writes are poisoned with NaN and have guard regions on both sides, which must come back untouched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from edit_values import packed_edit_gradients
from recurrences import ONE_OF_EACH, RECURRENCES, relative, span
from torch import Tensor

from statescope import Edit, cell_scan, delta_rule, diagonal_scan
from statescope.kernels import dispatch
from statescope.kernels.cell_scan import CELLS
from statescope.kernels.chunked import triangular
from statescope.kernels.triton import launch, launch_gram, launch_scalar

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("Triton interprets only if TRITON_INTERPRET=1 is set before it is imported", allow_module_level=True)

GUARD = 4096
POISON = float("nan")
SENTINEL = 12345.0


class GuardedTorch:
    """torch, but for new tensors: each is the middle of a larger buffer, poisoned, with sentinels around it."""

    def __init__(self) -> None:
        self.held: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, *size: int, dtype: torch.dtype, device: Any = None) -> Tensor:
        count = int(torch.tensor(size).prod())
        buffer = torch.full((count + 2 * GUARD,), SENTINEL, dtype=dtype)
        buffer[GUARD : GUARD + count] = POISON
        self.held.append(buffer)
        return buffer[GUARD : GUARD + count].view(*size)

    def empty_like(self, x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        if x.is_complex():
            return torch.view_as_complex(self.empty(*x.shape, 2, dtype=torch.float32))
        return self.empty(*x.shape, dtype=dtype or x.dtype)


@pytest.fixture
def unguarded() -> None:
    """For a test in which no kernel ends."""


@pytest.fixture(autouse=True)
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The launcher's buffers, checked after each test."""
    if "unguarded" in request.fixturenames:
        yield
        return
    made = GuardedTorch()
    monkeypatch.setattr(launch, "torch", made)
    monkeypatch.setattr(launch_scalar, "torch", made)
    monkeypatch.setattr(launch_gram, "torch", made)
    yield
    assert made.held, "no kernel ran"
    for buffer in made.held:
        assert (buffer[:GUARD] == SENTINEL).all(), "a kernel wrote before its buffer"
        assert (buffer[-GUARD:] == SENTINEL).all(), "a kernel wrote behind its buffer"
        assert not buffer[GUARD:-GUARD].isnan().any(), "a kernel left part of its result unwritten"


def everything(name: str, implementation: str, length: int, chunk: int, **how: Any) -> dict[str, Tensor]:
    """Outputs, states and gradients with taps and edits; as the comparison of the chunked form with the token loop."""
    recurrence = RECURRENCES[name]
    columns = 6 + recurrence.extra_columns
    inputs = recurrence.make(2, length, 2, 12, 6, torch.float32, 3)
    generator = torch.Generator().manual_seed(4)
    state, value = torch.randn(2, 2, 2, 12, columns, generator=generator).unbind(0)
    leaves = {**inputs, "initial_state": state, "edit": value}
    leaves = {key: x.detach().requires_grad_() for key, x in leaves.items()}
    edits = [Edit(length // 2, "add", leaves["edit"]), Edit(length // 4, "scale", torch.tensor(0.5))]
    if recurrence.readouts:
        edits.append(Edit(length // 3, "scale", torch.tensor(2.0), verb="readout"))
    arguments = {key: x for key, x in leaves.items() if key != "edit"}
    taps = sorted({0, length // 3, length // 2, length - 1})
    out = recurrence.call(**arguments, taps=taps, edits=edits, implementation=implementation, chunk=chunk, **how)
    found = {"output": out.output, "final_state": out.final_state, "states": out.states}
    loss = sum((x * torch.randn(x.shape, generator=generator)).sum() for x in found.values())
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return found | {f"d {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)}


@pytest.mark.parametrize(("length", "chunk"), [(1, 16), (37, 16), (50, 32)])
@pytest.mark.parametrize("name", [*ONE_OF_EACH, "linear", "delta", "delta-correlated", "delta-decay-20", "gated-20"])
def test_a_family_against_its_twin(name: str, length: int, chunk: int) -> None:
    truth = everything(name, "chunked", length, chunk)
    found = everything(name, "triton", length, chunk)
    for what, exact in truth.items():
        assert relative(found[what], exact) <= 2e-5, what


@pytest.mark.parametrize("name", ["linear-decay", "gated", "delta-decay", "low-rank"])
def test_half_precision_storage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast tier with float16 in the place of bfloat16: the twin rounds the same terms and computes in float32."""
    monkeypatch.setattr(dispatch, "FAST_STORAGE", torch.float16)
    truth = everything(name, "chunked", 37, 16, precision="fast")
    found = everything(name, "triton", 37, 16, precision="fast")
    exact = everything(name, "chunked", 37, 16)
    for what in ("output", "states", "final_state"):
        assert relative(found[what], truth[what]) <= 3e-3, what
        assert 1e-5 < relative(truth[what], exact[what]) <= 5e-3, what
    for what in (key for key in truth if key.startswith("d ")):
        assert relative(found[what], exact[what]) <= 2e-2, what


@pytest.mark.parametrize("name", ["gated", "delta-decay"])
def test_packed_sequences(name: str) -> None:
    inputs = RECURRENCES[name].make(1, 50, 2, 8, 6, torch.float32, 5)
    bounds = torch.tensor([0, 20, 21, 50])
    call = RECURRENCES[name].call
    edit = Edit(30, "add", torch.randn(1, 2, 8, 6))
    for edits in ((), (edit,)):
        truth = call(**inputs, cu_seqlens=bounds, taps="last", edits=edits, implementation="reference")
        found = call(**inputs, cu_seqlens=bounds, taps="last", edits=edits, implementation="triton", chunk=16)
        for what in ("output", "states", "final_state"):
            assert relative(getattr(found, what), getattr(truth, what)) <= 1e-5


@pytest.mark.parametrize("name", ["gated", "delta-decay", "low-rank"])
def test_gradients_of_edit_values_in_packed_sequences(name: str) -> None:
    for own, exact in zip(*packed_edit_gradients(name, "triton", 16), strict=True):
        assert relative(own, exact) <= 2e-5


@pytest.mark.usefixtures("unguarded")
def test_what_the_kernels_do_not_hold_is_refused() -> None:
    wide = torch.zeros(1, 2, 1, 1, 65), torch.zeros(1, 1, 65, 65)
    with pytest.raises(ValueError, match="inputs has 65 channels a head; the Triton kernels of the cells hold 64"):
        cell_scan("elman", *wide, implementation="triton")
    inputs = RECURRENCES["delta-decay"].make(1, 40, 1, 65, 4, torch.float32, 0)
    with pytest.raises(ValueError, match=r"q has 65 key channels; with torch.float32 terms the Triton kernels hold 64"):
        RECURRENCES["delta-decay"].call(**inputs, implementation="triton")
    key = torch.nn.functional.normalize(torch.randn(1, 4, 1, 33, 8), dim=-1)
    with pytest.raises(ValueError, match=r"a token writes 33 times; with precision='exact' the Triton kernels hold 32 writes"):
        delta_rule(torch.randn(1, 4, 1, 8), key, torch.randn(1, 4, 1, 33, 4), torch.rand(1, 4, 1, 33), implementation="triton")
    inputs = RECURRENCES["delta-decay"].make(1, 4, 1, 4, 4, torch.float64, 0)
    with pytest.raises(ValueError, match="computes in float32; for float64 use"):
        RECURRENCES["delta-decay"].call(**inputs, implementation="triton")


@pytest.mark.parametrize("changed", [1, 16, 30])
def test_the_future_leaves_the_past_bit_identical(changed: int) -> None:
    recurrence = RECURRENCES["delta-decay"]
    inputs, other = (recurrence.make(1, 40, 1, 8, 6, torch.float32, seed) for seed in (1, 2))
    later = {key: torch.cat([x[:, :changed], other[key][:, changed:]], 1) for key, x in inputs.items()}
    before, after = (recurrence.call(**x, implementation="triton", chunk=16) for x in (inputs, later))
    assert torch.equal(before.output[:, :changed], after.output[:, :changed])
    prefix = recurrence.call(**span(inputs, None, changed), implementation="triton", chunk=16)
    assert relative(before.output[:, :changed], prefix.output) <= 1e-6


def test_tokens_that_changed_before_the_backward_pass_are_refused() -> None:
    """Where no copy of them was made."""
    recurrence = RECURRENCES["delta-decay"]
    inputs = {key: x.requires_grad_() for key, x in recurrence.make(1, 20, 1, 8, 6, torch.float32, 1).items()}
    output = recurrence.call(**inputs, implementation="triton", chunk=16).output
    with torch.no_grad():
        inputs["q"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("size", [1, 3, 16, 33, 64])
def test_inverse(size: int) -> None:
    lower = (0.7 * torch.randn(2, 3, size, size)).tril(-1)
    assert relative(launch.launch_inverse(lower), triangular.unit_lower_inverse(lower.double())) <= 1e-5


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_scan(kind: str) -> None:
    shape = (2, 9, 2, 5)
    decay = torch.rand(shape) if kind == "real" else torch.polar(torch.rand(shape), 6 * torch.rand(shape))
    x, state = torch.randn(shape, dtype=decay.dtype), torch.randn(2, 2, 5, dtype=decay.dtype)
    value = torch.randn(2, 2, 5, dtype=decay.dtype)
    results = []
    for implementation in ("reference", "triton"):
        leaves = [y.detach().clone().requires_grad_() for y in (decay, x, state, value)]
        edits = [Edit(4, "add", leaves[3])]
        out = diagonal_scan(
            leaves[1], leaves[0], initial_state=leaves[2], taps=[4, 8], edits=edits, implementation=implementation
        )
        loss = (out.output.abs().square().sum() + out.states.abs().square().sum()).real
        results.append([out.output, out.states, out.final_state, *torch.autograd.grad(loss, leaves)])
    for truth, found in zip(*results, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)


def cell_leaves(cell: str, length: int, batch: int) -> dict[str, Tensor]:
    heads, channels = 2, 6
    gates, parts = len(CELLS[cell].gates), len(CELLS[cell].parts)
    state = torch.rand(3, heads, parts, channels) + 0.3
    return {
        "inputs": 2 * torch.randn(batch, length, heads, gates, channels),
        "recurrent": torch.randn(heads, gates, channels, channels) / channels**0.5,
        "bias": torch.randn(heads, gates, channels),
        "state": state,
        "edit": torch.rand_like(state[:1] if batch == 1 else state),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("start", ["zero", "given"])
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, start: str, packed: bool) -> None:
    """Forward and every gradient, with taps (of all parts of the state) and an edit."""
    bounds = torch.tensor([0, 4, 5, 12]) if packed else None
    leaves = cell_leaves(cell, 12 if packed else 7, 1 if packed else 3)
    weights = torch.randn(3, 3, 2, len(CELLS[cell].parts), 6)
    results = []
    for implementation in ("reference", "triton"):
        own = {name: x.detach().clone().requires_grad_() for name, x in leaves.items()}
        out = cell_scan(
            cell,
            own["inputs"],
            own["recurrent"],
            own["bias"],
            initial_state=own["state"] if start == "given" else None,
            edits=[Edit(8 if packed else 3, "add", own["edit"])],
            taps=[2, 8, 9] if packed else [2, 3, 6],
            cu_seqlens=bounds,
            implementation=implementation,
        )
        states = out.states if packed else out.states.transpose(0, 1)
        loss = (states * weights[: len(states)]).sum() + out.output.square().sum() + (out.final_state * weights[0]).sum()
        wanted = [x for name, x in own.items() if name != "state" or start == "given"]
        results.append([out.output, out.states, out.final_state, *torch.autograd.grad(loss, wanted)])
        assert out.implementation == implementation
    for truth, found in zip(*results, strict=True):
        assert relative(found, truth) <= 2e-5
