"""Task vectors: what is added, and how far tasks disturb each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from statescope.analyses.lazy.tangent_model import TangentModel, Vector, combined, disentanglement_error, task_vector


def linear_in(x: Tensor) -> object:
    return lambda vector: x @ vector["weight"].T


def test_vectors_add_by_their_scales() -> None:
    one, two = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}
    torch.testing.assert_close(combined([one, two], (2.0, -1.0))["w"], torch.tensor([2.0, -2.0]))
    torch.testing.assert_close(task_vector({"w": torch.tensor([3.0])}, {"w": torch.tensor([1.0])})["w"], torch.tensor([2.0]))
    with pytest.raises(ValueError, match="scales"):
        combined([one, two], (1.0,))
    with pytest.raises(ValueError, match="same parameters"):
        task_vector(one, {"v": one["w"]})


def test_tasks_of_a_linear_model_disturb_each_other_by_what_their_inputs_share() -> None:
    vectors: list[Vector] = [{"weight": torch.tensor([[1.0, 0.0, 0.0]])}, {"weight": torch.tensor([[0.0, 1.0, 0.0]])}]
    apart = [linear_in(torch.tensor([[2.0, 0.0, 1.0]])), linear_in(torch.tensor([[0.0, 3.0, 1.0]]))]
    assert disentanglement_error(apart, vectors, (0.7, -0.4)) == 0  # type: ignore[arg-type]
    shared = [linear_in(torch.tensor([[2.0, 1.0, 0.0]])), apart[1]]
    assert disentanglement_error(shared, vectors, (0.7, -0.4)) == pytest.approx(0.16)  # type: ignore[arg-type]


def test_a_tangent_leaves_the_model_and_names_its_vector() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tangent, x = TangentModel(model), torch.randn(5, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(tangent.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        tangent(x).square().mean().backward()
        optimizer.step()
    vector = tangent.task_vector()
    assert vector.keys() == before.keys()
    assert all(float(value.abs().max()) > 0 for value in vector.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(tangent.predict(vector, x), tangent(x))
    with pytest.raises(ValueError, match="requires_grad"):
        TangentModel(model.requires_grad_(False))
    alike = torch.nn.Sequential(torch.nn.Linear(3, 2))
    alike.register_parameter("0_weight", torch.nn.Parameter(torch.ones(2, 3)))
    with pytest.raises(ValueError, match="give one of them another name"):
        TangentModel(alike)
