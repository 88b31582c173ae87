"""An edit equals running the prefix, changing the state by hand, and resuming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from edit_values import OPERATIONS, B, H, K, T, V, packed_edit_gradients, value_for
from recurrences import ONE_OF_EACH, RECURRENCES, relative, span
from torch import Tensor

from statescope import Edit, dense_scan, diagonal_scan, gate_loop, gated_slot_attention
from statescope.kernels.arguments import NonFiniteError


def by_hand(operation: str, state: Tensor, value: Tensor) -> Tensor:
    """The change, written a second time with dense projectors."""
    if operation == "set":
        return value.clone()
    if operation == "add":
        return state + value
    if operation == "scale":
        return value * state
    unit = value / value.norm(dim=-1, keepdim=True)
    outer = torch.einsum("bhi,bhj->bhij", unit, unit)
    eye = torch.eye(outer.shape[-1], dtype=state.dtype)
    if operation == "project_out_value":
        return torch.einsum("bhkv,bhvw->bhkw", state, eye - outer)
    return torch.einsum("bhij,bhjv->bhiv", eye - (2 if operation == "reflect_key" else 1) * outer, state)


@pytest.mark.parametrize("heads", [None, (2, 0)])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_it_equals_prefix_change_resume(name: str, operation: str, heads: tuple[int, ...] | None, implementation: str) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 1)
    position = 40
    value = value_for(operation, H if heads is None else len(heads), V + recurrence.extra_columns)
    edit = Edit(position, operation, value, heads=heads)
    found = recurrence.call(**inputs, edits=[edit], taps=[position, 60], implementation=implementation)

    prefix = recurrence.call(**span(inputs, None, position + 1), implementation="reference")
    state = prefix.final_state.clone()
    chosen = list(range(H)) if heads is None else list(heads)
    state[:, chosen] = by_hand(operation, state[:, chosen], value)
    start = recurrence.resume(prefix) | {"initial_state": state}
    rest = recurrence.call(**span(inputs, position + 1, None), **start, taps=[60 - position - 1], implementation="reference")
    assert relative(found.output, torch.cat([prefix.output, rest.output], dim=1)) < 1e-12
    assert relative(found.final_state, rest.final_state) < 1e-12
    assert relative(found.states[:, 0], state) < 1e-12
    assert relative(found.states[:, 1], rest.states[:, 0]) < 1e-12
    plain = recurrence.call(**inputs, implementation=implementation)
    assert torch.equal(found.output[:, : position - 32], plain.output[:, : position - 32])
    assert relative(found.output[:, position + 1 :], plain.output[:, position + 1 :]) > 1e-3


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_gradient_for_each_of_several_values(operation: str) -> None:
    """Under vmap the adjoint takes the value of its own sample."""
    inputs = RECURRENCES["delta-decay"].make(B, T, H, K, V, torch.float64, 1)
    inputs, v = {name: x for name, x in inputs.items() if name != "v"}, inputs["v"]
    values = torch.stack([value_for(operation, H) * factor for factor in (1.0, 0.3)])

    def gradient(value: Tensor) -> Tensor:
        def loss(v: Tensor) -> Tensor:
            out = RECURRENCES["delta-decay"].call(**inputs, v=v, edits=[Edit(40, operation, value)])
            return out.output.square().sum()

        return torch.func.grad(loss)(v)

    together = torch.func.vmap(gradient)(values)
    for found, value in zip(together, values, strict=True):
        torch.testing.assert_close(found, gradient(value), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sequences", [(0, 1), (1,)])
@pytest.mark.parametrize("heads", [None, (2, 0)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_adjoint_of_an_edit_whose_value_is_fixed(
    operation: str, heads: tuple[int, ...] | None, sequences: tuple[int, ...]
) -> None:
    state, gradient = torch.randn(2, B, H, K, V, dtype=torch.float64).unbind(0)
    value = (
        value_for(operation, H if heads is None else len(heads))[: len(sequences)] if operation != "scale" else torch.tensor(-0.7)
    )
    edit = Edit(0, operation, value, heads=heads)
    truth = torch.func.vjp(lambda x: edit.apply_to(sequences, x), state)[1](gradient)[0]
    found, of_value = edit.pull_back(sequences, gradient, state, edit.value)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-13)
    assert of_value is None
    learnt, of_value = edit.pull_back(sequences, gradient, state, edit.value.clone().requires_grad_())
    torch.testing.assert_close(learnt, truth, rtol=1e-12, atol=1e-13)
    assert of_value is not None and of_value.shape == value.shape


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if name not in ("bonus", "mlstm")])
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_a_read_out_edit_changes_one_position(name: str, implementation: str) -> None:
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 1)
    direction = value_for("project_out_key", H)
    edit = Edit(33, "project_out_key", direction, verb="readout")
    found = recurrence.call(**inputs, edits=[edit], taps=[33], implementation=implementation)
    plain = recurrence.call(**inputs, taps=[33], implementation=implementation)
    same = torch.arange(T) != 33
    assert torch.equal(found.output[:, same], plain.output[:, same])
    assert torch.equal(found.final_state, plain.final_state)
    assert torch.equal(found.states, plain.states)
    read = torch.einsum("bhk,bhkv->bhv", inputs["q"][:, 33], by_hand("project_out_key", plain.states[:, 0], direction))
    assert relative(found.output[:, 33], read) < 1e-12


def test_edits_at_one_position_apply_in_their_order() -> None:
    recurrence = RECURRENCES["delta-decay"]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 1)
    value = value_for("add", H)
    half = torch.tensor(0.5, dtype=torch.float64)
    scale, add = Edit(20, "scale", half), Edit(20, "add", value)
    before = recurrence.call(**inputs, taps=[20]).states
    for implementation in ("reference", "chunked"):
        scaled_first = recurrence.call(**inputs, edits=[scale, add], taps=[20], implementation=implementation).states
        added_first = recurrence.call(**inputs, edits=[add, scale], taps=[20], implementation=implementation).states
        assert relative(scaled_first[:, 0], before[:, 0] / 2 + value) < 1e-12
        assert relative(added_first[:, 0], (before[:, 0] + value) / 2) < 1e-12


@dataclass(frozen=True)
class Readouts:
    """A recurrence whose read-out can be edited: call(edits, taps, implementation), and the shape of its state at a token."""

    call: Callable[..., Any]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float64


def readouts() -> dict[str, Readouts]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    made = {
        name: Readouts(
            partial(recurrence.call, **recurrence.make(B, T, H, K, V, torch.float64, 1)),
            (B, H, K, V + recurrence.extra_columns),
        )
        for name, recurrence in RECURRENCES.items()
        if recurrence.readouts
    }
    x, q, k, write = (
        normal(B, T, H, K),
        normal(B, T, H, K),
        normal(B, T, H, K),
        torch.rand(B, T, H, K, generator=generator).double(),
    )
    turning = torch.polar(write, 3 * k)
    made["scan"] = Readouts(partial(diagonal_scan, x, write), (B, H, K))
    made["complex scan"] = Readouts(partial(diagonal_scan, x, turning), (B, H, K), torch.complex128)
    matrix = 0.2 * normal(H, K, K)

    def dense(implementation: str, **how: Any) -> Any:
        return dense_scan(x, matrix, **how)

    def slots(edits: Any, **how: Any) -> Any:
        return gated_slot_attention(q, k, x, write, -write, value_edits=edits, **how)

    made["dense scan"] = Readouts(dense, (B, H, K))
    made["slots"] = Readouts(slots, (B, H, K, K))
    made["gate loop"] = Readouts(partial(gate_loop, q, k, x, -write, 3 * k), (B, H, K, K), torch.complex128)
    return made


READOUTS = readouts()


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("name", READOUTS)
def test_read_out_edits_at_one_position_compose_in_their_order(name: str, implementation: str) -> None:
    own = READOUTS[name]
    half, value = torch.tensor(0.5).double(), torch.randn(own.shape, dtype=own.dtype)
    scale, add = Edit(20, "scale", half, verb="readout"), Edit(20, "add", value, verb="readout")
    propagating = Edit(20, "scale", torch.tensor(3.0).double())  # which the token has not read
    state = own.call(edits=(), taps=[20], implementation=implementation).states[:, 0]

    def read(*edits: Edit) -> Tensor:
        return own.call(edits=[propagating, *edits], taps=None, implementation=implementation).output[:, 20]

    scaled_first, added_first = (read(Edit(20, "set", x, verb="readout")) for x in (state / 2 + value, (state + value) / 2))
    torch.testing.assert_close(read(scale, add), scaled_first, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(read(add, scale), added_first, rtol=1e-10, atol=1e-11)
    assert relative(scaled_first, added_first) > 1e-2
    assert relative(read(add), scaled_first) > 1e-2


def test_a_complex_value_is_refused_by_a_real_state() -> None:
    inputs = RECURRENCES["delta-decay"].make(B, T, H, K, V, torch.float64, 1)
    value = torch.randn(B, H, K, V, dtype=torch.complex128)
    for verb in ("propagate", "readout"):
        for implementation in ("reference", "chunked"):
            with pytest.raises(TypeError, match=r"Edit\('add'\) at 3: the value is complex and the state is real"):
                RECURRENCES["delta-decay"].call(**inputs, edits=[Edit(3, "add", value, verb=verb)], implementation=implementation)
    with pytest.raises(TypeError, match="the value is complex and the state is real"):
        diagonal_scan(torch.randn(B, T, H, K), torch.rand(B, T, H, K), edits=[Edit(3, "set", value[..., 0])])


def test_complex_directions_on_a_complex_state() -> None:
    """Projected out, nothing of the state is left along the direction; reflected, its part along it turns to the other side."""
    x, direction = torch.randn(B, T, H, K).double(), torch.randn(B, H, K, dtype=torch.complex128)
    decay = torch.polar(torch.rand(B, T, H, K).double(), torch.randn(B, T, H, K).double())
    along = [
        (direction.conj() * diagonal_scan(x, decay, edits=edits, taps=[20]).states[:, 0]).sum(-1)
        for edits in ((), [Edit(20, "project_out_key", direction)], [Edit(20, "reflect_key", direction)])
    ]
    assert along[1].abs().max() < 1e-12 < along[0].abs().min()
    torch.testing.assert_close(along[2], -along[0])


def test_an_initial_state_that_is_complex_makes_a_scan_complex() -> None:
    x, decay = torch.randn(B, T, H, K).double(), torch.rand(B, T, H, K).double()
    state = torch.randn(B, H, K, dtype=torch.complex128)
    out = diagonal_scan(x, decay, initial_state=state)
    torch.testing.assert_close(out.output, diagonal_scan(x.to(state.dtype), decay, initial_state=state).output)
    assert out.final_state.is_complex()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_an_edit_in_one_packed_sequence_leaves_the_others_bit_identical(name: str) -> None:
    recurrence = RECURRENCES[name]
    bounds = torch.tensor([0, 30, 71, 75])
    inputs = recurrence.make(1, T, H, K, V, torch.float32, 1)
    edit = Edit(45, "add", torch.randn(1, H, K, V + recurrence.extra_columns))
    plain = recurrence.call(**inputs, cu_seqlens=bounds, taps="last")
    found = recurrence.call(**inputs, cu_seqlens=bounds, taps="last", edits=[edit])
    for untouched in (slice(0, 30), slice(71, 75)):
        assert torch.equal(found.output[:, untouched], plain.output[:, untouched])
    assert torch.equal(found.states[:, [0, 2]], plain.states[:, [0, 2]])
    assert torch.equal(found.final_state[[0, 2]], plain.final_state[[0, 2]])
    assert not torch.equal(found.final_state[1], plain.final_state[1])


@pytest.mark.parametrize("chunk", [8, 32])
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_gradients_of_edit_values_in_packed_sequences(name: str, implementation: str, chunk: int) -> None:
    found, truth = packed_edit_gradients(name, implementation, chunk)
    for own, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(own, exact, rtol=1e-9, atol=1e-11)


def test_a_propagating_edit_is_not_a_read_out_edit() -> None:
    """The two verbs, which other tools mix up, differ exactly after the edited position."""
    recurrence = RECURRENCES["delta-decay"]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 1)
    value = value_for("add", H)
    propagated = recurrence.call(**inputs, edits=[Edit(33, "add", value)]).output
    read = recurrence.call(**inputs, edits=[Edit(33, "add", value, verb="readout")]).output
    plain = recurrence.call(**inputs).output
    assert relative(propagated[:, 33], plain[:, 33]) < 1e-12
    assert relative(read[:, 33], plain[:, 33]) > 1e-2
    assert relative(propagated[:, 34], plain[:, 34]) > 1e-2
    assert torch.equal(read[:, 34:], plain[:, 34:])


def test_a_recurrence_that_reads_before_it_writes_refuses_read_out_edits() -> None:
    inputs = RECURRENCES["bonus"].make(B, T, H, K, V, torch.float64, 1)
    with pytest.raises(ValueError, match="reads the state before it writes"):
        RECURRENCES["bonus"].call(**inputs, edits=[Edit(3, "scale", torch.tensor(0.5), verb="readout")])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_naming_the_edit(operation: str, bad: float) -> None:
    """At the last token too, behind which no output would show it; under vmap, values are not read."""
    recurrence = RECURRENCES[ONE_OF_EACH[0]]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 1)
    value = value_for(operation, H).detach().clone()
    value.view(-1)[-1] = bad
    sound = Edit(3, "scale", torch.ones(()))
    for verb in ("propagate", "readout"):
        message = rf"the value of Edit\('{operation}'\) at position -1 is (nan|-inf) at index \("
        with pytest.raises(NonFiniteError, match=message):
            recurrence.call(**inputs, edits=[sound, Edit(-1, operation, value, verb=verb)])

    def checked(values: Tensor) -> Tensor:
        Edit(-1, "add", values).check_value()
        return values

    torch.vmap(checked)(torch.tensor([0.0, bad]))
