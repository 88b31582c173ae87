"""First and second derivatives, of inputs, initial states, taps and the values of edits; and torch.func."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from recurrences import ONE_OF_EACH, RECURRENCES, sequences, span, unit
from torch import Tensor

from statescope import Edit
from statescope.kernels.chunked import pass_rows

B, T, H, K, V = 1, 7, 1, 3, 2


def function_of(name: str, implementation: str) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A recurrence with a tap and three edits as a function of its inputs. Keys are normalised inside: gradcheck moves them."""
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(B, T, H, K, V, torch.float64, 2)
    normalise = "beta" in inputs

    def call(state: Tensor, added: Tensor, direction: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(inputs, tensors, strict=True))
        if normalise:
            given["k"] = unit(given["k"])
        edits = [Edit(2, "add", added), Edit(4, "reflect_key", direction)]
        if recurrence.readouts:
            edits.append(Edit(5, "project_out_key", direction, verb="readout"))
        out = recurrence.call(**given, initial_state=state, taps=[1, 4], edits=edits, implementation=implementation, chunk=4)
        return out.output, out.final_state, out.states

    if "log_decay" in inputs:
        inputs["log_decay"] = inputs["log_decay"] - 0.01  # gradcheck steps to both sides and 0 is the edge
    if normalise:
        inputs["beta"] = 0.1 + 0.8 * inputs["beta"]
    columns = V + recurrence.extra_columns
    extra = (torch.randn(B, H, K, columns), torch.randn(B, H, K, columns), torch.randn(B, H, K))
    arguments = (*(x.double() for x in extra), *inputs.values())
    return call, tuple(x.detach().requires_grad_() for x in arguments)


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_gradients(name: str, implementation: str) -> None:
    call, arguments = function_of(name, implementation)
    assert torch.autograd.gradcheck(call, arguments)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_second_derivatives(name: str) -> None:
    call, arguments = function_of(name, "chunked")
    assert torch.autograd.gradgradcheck(call, arguments)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_state_attribution(name: str) -> None:
    """dL/dS_t at a tap is the gradient by the value of an edit that adds nothing there."""
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, 50, 2, 8, 6, torch.float64, 2)
    nothing = torch.zeros(2, 2, 8, 6 + recurrence.extra_columns, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 50, 2, 6, dtype=torch.float64)
    out = recurrence.call(**inputs, edits=[Edit(20, "add", nothing)])
    (found,) = torch.autograd.grad((out.output * weight).sum(), nothing)
    # By hand: the state at 20 is the initial state of what follows.
    prefix = recurrence.call(**span(inputs, None, 21))
    state = prefix.final_state.detach().requires_grad_()
    start = recurrence.resume(prefix) | {"initial_state": state}
    rest = recurrence.call(**span(inputs, 21, None), **start, implementation="reference")
    (expected,) = torch.autograd.grad((rest.output * weight[:, 21:]).sum(), state)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_torch_func(name: str) -> None:
    """Per-sample gradients by vmap over grad equal those of a loop."""
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(3, 20, 2, 4, 3, torch.float64, 2)

    def loss(v: Tensor, rest: dict[str, Tensor]) -> Tensor:
        batch = {key: x if key == "bonus" else x[None] for key, x in rest.items()}
        return recurrence.call(**batch, v=v[None], taps=[7]).states.square().sum()

    rest = {key: x for key, x in inputs.items() if key != "v"}
    axes = {key: None if key == "bonus" else 0 for key in rest}
    together = torch.func.vmap(torch.func.grad(loss), in_dims=(0, axes))(inputs["v"], rest)
    for sample in range(3):
        own = sequences(rest, sample)
        alone = torch.func.grad(loss)(inputs["v"][sample], own)
        torch.testing.assert_close(together[sample], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_forward_mode(name: str) -> None:
    """A directional derivative by torch.func.jvp is the inner product with the gradient."""
    recurrence = RECURRENCES[name]
    inputs = recurrence.make(2, 40, 2, 4, 3, torch.float64, 2)
    edits = [Edit(17, "scale", torch.tensor(0.5, dtype=torch.float64))]
    value = inputs.pop("v")
    direction = torch.randn_like(value)

    def total(v: Tensor) -> Tensor:
        out = recurrence.call(**inputs, v=v, edits=edits)
        return out.output.square().sum() + out.final_state.sin().sum()

    _, along = torch.func.jvp(total, (value,), (direction,))
    torch.testing.assert_close(along, (torch.func.grad(total)(value) * direction).sum(), rtol=1e-10, atol=1e-10)


def test_a_wrong_gradient_is_rejected() -> None:
    call, arguments = function_of("delta-decay", "chunked")

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def setup_context(ctx: object, inputs: object, output: object) -> None: ...

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return gradient / 2

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda state, *rest: call(Halved.apply(state), *rest), arguments)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_gradient_of_few_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adjoint of outputs that are read at the last token, in rows of 4 of which the last is full, leaves the others out."""
    recurrence, given = RECURRENCES[name], list[bool]()
    tokens_reached = pass_rows._tokens_reached

    def seen(gradient: Tensor) -> Tensor | None:
        reached = tokens_reached(gradient)
        given.append(reached is not None)
        return reached

    monkeypatch.setattr(pass_rows, "_tokens_reached", seen)
    inputs = recurrence.make(2, 8, 2, 4, 3, torch.float64, 2)
    leaves = [x.requires_grad_() for x in inputs.values() if x.is_floating_point()]

    def gradients(implementation: str, places: slice) -> list[Tensor]:
        output = recurrence.call(**inputs, implementation=implementation, chunk=4).output[:, places]
        weights = torch.arange(1.0, output.numel() + 1, dtype=output.dtype).view_as(output)
        return list(torch.autograd.grad((output * weights).sum(), leaves, materialize_grads=True))

    def off(places: slice) -> float:
        both = zip(gradients("chunked", places), gradients("reference", places), strict=True)
        return max(float((found - exact).abs().max() / exact.abs().max().clamp(min=1)) for found, exact in both)

    for places, few in ((slice(-1, None), True), (slice(2, None, 4), True), (slice(None), False)):
        given.clear()
        assert off(places) < 1e-12
        assert set(given) <= {few}
    monkeypatch.setattr(pass_rows, "_tokens_reached", lambda gradient: torch.tensor([0]))  # where none arrives
    assert not given or off(slice(-1, None)) > 1e-3
