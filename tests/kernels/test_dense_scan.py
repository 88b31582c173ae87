"""The dense scan against its definition, token by token, in double precision."""

from __future__ import annotations

import pytest
import torch
from recurrences import relative
from torch import Tensor

from statescope import Edit, dense_scan
from statescope.kernels.arguments import NonFiniteError

B, H, C = 2, 3, 4


def make(length: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """A with eigenvalues inside the unit circle and no orthogonal eigenbasis."""
    matrix = torch.randn(H, C, C, dtype=dtype)
    matrix = 0.98 * matrix / torch.linalg.eigvals(matrix).abs().amax(-1)[:, None, None]
    return torch.randn(B, length, H, C, dtype=dtype), matrix, torch.randn(B, H, C, dtype=dtype)


def by_definition(x: Tensor, matrix: Tensor, state: Tensor, changes: dict[int, Tensor]) -> Tensor:
    states = []
    for t in range(x.shape[1]):
        state = torch.einsum("hij,bhj->bhi", matrix, state) + x[:, t]
        states.append(state)
        state = state + changes.get(t, 0)
    return torch.stack(states, 1)


@pytest.mark.parametrize("length", [1, 2, 3, 17, 64, 200])
def test_states_taps_and_edits_are_those_of_the_definition(length: int) -> None:
    x, matrix, state = make(length)
    value, place = torch.randn(B, H, C, dtype=torch.float64), length // 2
    out = dense_scan(x, matrix, initial_state=state, taps=sorted({0, place}), edits=[Edit(place, "add", value)])
    truth = by_definition(x, matrix, state, {place: value})
    assert relative(out.output, truth) < 1e-12
    assert out.states is not None
    assert relative(out.states[:, -1], truth[:, place] + value) < 1e-12
    assert relative(out.final_state, truth[:, -1] + (value if place == length - 1 else 0)) < 1e-12
    if length > 2:  # the transpose is another system
        assert relative(dense_scan(x, matrix.mT, initial_state=state).output, truth) > 1e-3


def test_it_goes_on_from_its_final_state_and_sees_no_future() -> None:
    x, matrix, state = make(50)
    whole = dense_scan(x, matrix, initial_state=state)
    first = dense_scan(x[:, :19], matrix, initial_state=state)
    second = dense_scan(x[:, 19:], matrix, initial_state=first.final_state)
    assert relative(torch.cat([first.output, second.output], 1), whole.output) < 1e-12
    other = torch.cat([x[:, :30], 2 * x[:, 30:]], 1)
    assert torch.equal(dense_scan(other, matrix, initial_state=state).output[:, :30], whole.output[:, :30])


def test_gradients() -> None:
    x, matrix, state = (tensor.requires_grad_() for tensor in make(6))
    value = torch.randn(B, H, C, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, matrix: Tensor, state: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = dense_scan(x, matrix, initial_state=state, taps=[2], edits=[Edit(3, "add", value), Edit(1, "scale", value)])
        assert out.states is not None
        return out.output, out.final_state, out.states

    assert torch.autograd.gradcheck(run, (x, matrix, state, value))


def test_a_readout_edit_changes_its_position_alone() -> None:
    x, matrix, state = make(9)
    plain = dense_scan(x, matrix, initial_state=state).output
    edit = Edit(4, "scale", torch.tensor(2.0, dtype=torch.float64), verb="readout")
    edited = dense_scan(x, matrix, initial_state=state, edits=[edit]).output
    changed = (edited - plain).abs().amax((0, 2, 3)) > 0
    assert changed.tolist() == [t == 4 for t in range(9)]


def test_bad_input() -> None:
    x, matrix, state = make(5)
    with pytest.raises(ValueError, match=r"matrix has shape \(4, 4\)"):
        dense_scan(x, matrix[0])
    with pytest.raises(ValueError, match="initial_state"):
        dense_scan(x, matrix, initial_state=state[:1])
    with pytest.raises(NonFiniteError, match="an eigenvalue of modulus 196"):
        dense_scan(torch.randn(1, 300, H, C, dtype=torch.float64), 200 * matrix)
