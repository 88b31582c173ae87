"""Vector states: doubling against the token loop, resets, packing, edits, derivatives, and the convolution view."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recurrences import relative
from torch import Tensor

from statescope import Edit, diagonal_scan
from statescope.kernels.diagonal_scan import convolve

B, H, C = 3, 2, 5
LENGTHS = (1, 2, 15, 16, 17, 63, 200, 300)
KINDS = ("real", "complex", "constant", "strong")


def make(kind: str, length: int, dtype: torch.dtype = torch.float64, batch: int = B) -> tuple[Tensor, Tensor]:
    complex_dtype = {torch.float64: torch.complex128, torch.float32: torch.complex64}[dtype]
    x = torch.randn(batch, length, H, C, dtype=dtype)
    if kind == "real":
        return x, torch.rand(batch, length, H, C, dtype=dtype)
    if kind == "strong":  # down to e^-20 a step
        return x, (-20 * torch.rand(batch, length, H, C, dtype=dtype)).exp()
    shape = (H, C) if kind == "constant" else (batch, length, H, C)
    decay = torch.polar(0.5 + 0.5 * torch.rand(shape, dtype=dtype), 6.28 * torch.rand(shape, dtype=dtype))
    return torch.randn(batch, length, H, C, dtype=complex_dtype), decay


def run(implementation: str, x: Tensor, decay: Tensor, state: Tensor, value: Tensor, **how: Any) -> dict[str, Tensor]:
    x, decay, state, value = (y.detach().requires_grad_() for y in (x, decay, state, value))
    length = x.shape[1]
    edits = [Edit(length // 2, "add", value), Edit(length // 3, "reflect_key", value.abs() + 1, verb="readout")]
    taps = sorted({0, length // 2, length - 1})
    out = diagonal_scan(x, decay, initial_state=state, taps=taps, edits=edits, implementation=implementation, **how)
    found = {"output": out.output, "final_state": out.final_state, "states": out.states}
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (y * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(x.dtype).conj()).sum().real for y in found.values()
    )
    gradients = torch.autograd.grad(loss, [x, decay, state, value])
    return found | dict(zip(("d x", "d decay", "d state", "d edit"), gradients, strict=True))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_doubling_equals_the_token_loop(kind: str, length: int, dtype: torch.dtype, tolerance: float) -> None:
    x, decay = make(kind, length, dtype)
    state, value = (torch.randn(B, H, C, dtype=x.dtype) for _ in range(2))
    wide = torch.complex128 if x.is_complex() else torch.float64
    truth = run("reference", *(y.to(wide) for y in (x, decay, state, value)))
    found = run("chunked", x, decay, state, value)
    for name, exact in truth.items():
        difference = (found[name].detach().to(wide) - exact.detach()).abs().pow(2).sum().sqrt()
        assert difference <= tolerance * exact.detach().abs().pow(2).sum().sqrt(), name


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_resets_packing_and_separate_sequences_agree(kind: str) -> None:
    lengths = (7, 1, 30, 18)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    x, decay = make(kind, int(bounds[-1]), batch=1)
    resets = torch.zeros(1, int(bounds[-1]), dtype=torch.bool)
    resets[0, bounds[:-1]] = True
    for implementation in ("reference", "chunked"):
        packed = diagonal_scan(x, decay, cu_seqlens=bounds, taps="last", implementation=implementation)
        reset = diagonal_scan(x, decay, resets=resets, implementation=implementation)
        assert torch.equal(packed.output, reset.output)
        states = torch.randn(4, H, C, dtype=x.dtype)
        entered = diagonal_scan(x, decay, cu_seqlens=bounds, initial_state=states, implementation=implementation)
        for s, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            alone = diagonal_scan(x[:, a:b], decay[:, a:b], implementation="reference")
            torch.testing.assert_close(packed.output[:, a:b], alone.output, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(packed.states[:, s], alone.final_state, rtol=1e-12, atol=1e-12)
            own = diagonal_scan(x[:, a:b], decay[:, a:b], initial_state=states[s : s + 1], implementation="reference")
            torch.testing.assert_close(entered.output[:, a:b], own.output, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(entered.final_state[s], own.final_state[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("changed", [1, 15, 16, 40])
def test_the_future_leaves_the_past_bit_identical(changed: int) -> None:
    x, decay = make("real", 60, torch.float32)
    other_x, other_decay = make("real", 60, torch.float32)
    later = [torch.cat([a[:, :changed], b[:, changed:]], 1) for a, b in ((x, other_x), (decay, other_decay))]
    assert torch.equal(diagonal_scan(x, decay).output[:, :changed], diagonal_scan(*later).output[:, :changed])


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("operation", ["set", "add", "scale", "project_out_key", "reflect_key"])
def test_an_edit_is_prefix_change_resume(operation: str, implementation: str) -> None:
    x, decay = make("real", 50)
    value = torch.tensor(0.3).double() if operation == "scale" else torch.randn(B, H, C).double()
    found = diagonal_scan(x, decay, edits=[Edit(20, operation, value)], taps=[20], implementation=implementation)
    prefix = diagonal_scan(x[:, :21], decay[:, :21], implementation="reference")
    h = prefix.final_state
    unit = value / value.norm(dim=-1, keepdim=True) if operation.endswith("key") else None
    along = None if unit is None else (h * unit).sum(-1, keepdim=True) * unit
    changed = {
        "set": lambda: value,
        "add": lambda: h + value,
        "scale": lambda: h * value,
        "project_out_key": lambda: h - along,
        "reflect_key": lambda: h - 2 * along,
    }[operation]()
    rest = diagonal_scan(x[:, 21:], decay[:, 21:], initial_state=changed, implementation="reference")
    assert relative(found.output, torch.cat([prefix.output, rest.output], 1)) < 1e-12
    assert relative(found.states[:, 0], changed) < 1e-12


def test_an_edit_in_one_packed_sequence_leaves_the_others_bit_identical() -> None:
    x, decay = make("real", 40, torch.float32, batch=1)
    bounds = torch.tensor([0, 10, 25, 40])
    edit = Edit(24, "add", torch.randn(1, H, C))  # the last token of a sequence
    plain, found = (diagonal_scan(x, decay, cu_seqlens=bounds, edits=edits) for edits in (None, [edit]))
    assert torch.equal(found.output, plain.output)
    assert torch.equal(found.final_state[[0, 2]], plain.final_state[[0, 2]])
    assert relative(found.final_state[1], plain.final_state[1] + edit.value[0]) < 1e-6


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_derivatives(kind: str) -> None:
    x, decay = make(kind, 9, batch=1)
    state, value = (torch.randn(1, H, C, dtype=x.dtype) for _ in range(2))

    def call(x: Tensor, decay: Tensor, state: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        out = diagonal_scan(x, 0.9 * decay, initial_state=state, edits=[Edit(4, "add", value)], taps=[2, 4])
        return out.output, out.states, out.final_state

    arguments = tuple(y.requires_grad_() for y in (x, decay, state, value))
    assert torch.autograd.gradcheck(call, arguments)
    assert torch.autograd.gradgradcheck(call, arguments)


@pytest.mark.parametrize("length", [1, 2, 100])
def test_the_convolution_is_the_scan(length: int) -> None:
    for kind in ("constant", "real"):
        x, decay = make(kind, length)
        constant = decay if kind == "constant" else decay[0, 0]
        torch.testing.assert_close(convolve(x, constant), diagonal_scan(x, constant).output, rtol=1e-10, atol=1e-10)


def test_the_selective_scan_of_mamba() -> None:
    """Against the loop of the paper's algorithm 2, with state [D, N]: y_t = C_t h_t."""
    length, channels, size = 30, 4, 3
    u, dt = torch.randn(B, length, channels).double(), torch.rand(B, length, channels).double()
    a = -torch.rand(channels, size).double()
    b, c = torch.randn(2, B, length, size).double().unbind(0)
    h, outputs = torch.zeros(B, channels, size).double(), []
    for t in range(length):
        h = (dt[:, t, :, None] * a).exp() * h + dt[:, t, :, None] * b[:, t, None] * u[:, t, :, None]
        outputs.append((h * c[:, t, None]).sum(-1))
    x = dt[..., None] * b[:, :, None] * u[..., None]
    states = diagonal_scan(x, (dt[..., None] * a).exp()).output
    torch.testing.assert_close((states * c[:, :, None]).sum(-1), torch.stack(outputs, 1), rtol=1e-12, atol=1e-12)


def test_bad_input() -> None:
    x, decay = make("real", 6)
    for change, error, message in (
        ({"decay": decay[:, :5]}, ValueError, r"decay has shape \(3, 5, 2, 5\); it needs \(3, 6, 2, 5\) or, constant, \(2, 5\)"),
        ({"decay": 1.5 + decay}, ValueError, r"decay has an entry of modulus .*: a scan needs \|a\| <= 1"),
        ({"x": x.long()}, TypeError, "x has dtype torch.int64"),
        ({"x": x[0]}, ValueError, r"x has shape .* needs \[B, T, H, C\]"),
        ({"x": x.masked_fill(x == x[1, 2, 0, 1], float("nan"))}, ValueError, r"x is nan at index \(1, 2, 0, 1\)"),
        ({"initial_state": torch.zeros(B, H)}, ValueError, r"initial_state has shape \(3, 2\); it needs \(3, 2, 5\)"),
        ({"resets": torch.zeros(B, 6)}, ValueError, "resets is torch.float32 .* needs booleans"),
        ({"taps": [6]}, IndexError, "tap at position 6"),
        ({"edits": [Edit(1, "project_out_value", torch.ones(1))]}, ValueError, "no value side"),
        ({"implementation": "cuda"}, ValueError, "implementation='cuda' is not known"),
    ):
        with pytest.raises(error, match=message):
            diagonal_scan(**{"x": x, "decay": decay, **change})
