"""Task vectors: what is added, and how far tasks disturb each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from statescope import Model, ModelConfig
from statescope.analyses.lazy.tangent_model import TangentModel
from statescope.analyses.lazy.task_vectors import Vector, combined, disentanglement_error, task_vector


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


class Complex(nn.Module):
    """A recurrence of complex channels, read by its real part."""

    def __init__(self) -> None:
        super().__init__()
        self.decay, self.write = (nn.Parameter(0.5 * torch.randn(4, dtype=torch.complex128)) for _ in range(2))
        self.read = nn.Parameter(torch.randn(4, 2, dtype=torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(len(x), 4, dtype=torch.complex128)
        for token in x.unbind(1):
            state = self.decay * state + self.write * token[:, None]
        return (state @ self.read).real


def language_model(mixer: Any) -> nn.Module:
    return Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=mixer)).double().eval()


@pytest.mark.parametrize("kind", ["gated_delta_net", "mamba", "attention", "rwkv7", "complex"])
def test_the_tangent_of_any_model_is_its_derivative_and_trains_by_it(kind: str) -> None:
    """Custom kernels and fused attention have no forward mode. Along a vector beside a difference of outputs, and the gradient in
    delta beside that in the parameters.
    """
    torch.manual_seed(0)
    model = Complex() if kind == "complex" else language_model({"kind": kind, "heads": 2} if kind != "mamba" else {"kind": kind})
    x = torch.randn(2, 6, dtype=torch.float64) if kind == "complex" else torch.randint(0, 5, (2, 6))
    tangent, own = TangentModel(model), dict(model.named_parameters())
    vector = {name: torch.randn_like(value) for name, value in own.items()}

    def moved(by: float) -> Tensor:
        return functional_call(model, {name: value.detach() + by * vector[name] for name, value in own.items()}, (x,))

    slope, out = (moved(1e-6) - moved(-1e-6)) / 2e-6, model(x)
    torch.testing.assert_close(tangent.predict(vector, x) - out, slope, rtol=1e-5, atol=1e-6 * float(slope.abs().max()))
    weights = torch.randn_like(out)
    (tangent(x) * weights).sum().backward()
    (out * weights).sum().backward()
    for name, value in own.items():
        gradient = tangent.delta[name.replace(".", "_")].grad
        torch.testing.assert_close(gradient, torch.zeros_like(value) if value.grad is None else value.grad, rtol=1e-9, atol=1e-10)


def test_what_is_no_task_vector_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    tangent, x = TangentModel(model), torch.ones(2, 3, dtype=torch.float64)
    whole = tangent.task_vector()
    for wrong in ({"0.bias": whole["0.bias"]}, {**whole, "more": x}, {**whole, "0.bias": torch.ones(1)}):
        with pytest.raises(ValueError, match="in their shapes"):
            tangent.predict(wrong, x)
    single = {name: value.float() for name, value in whole.items()}
    torch.testing.assert_close(tangent.predict(single, x), model(x))
    with pytest.raises(ValueError, match=r"1 \(Dropout\) is in training mode"):
        TangentModel(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))(torch.ones(2, 3))
    with pytest.raises(ValueError, match="same parameters"):
        combined([whole, {}], (1.0, 1.0))
    with pytest.raises(ValueError, match="1 tasks and 2 vectors"):
        disentanglement_error([lambda vector: x], [whole, whole], (1.0, 1.0))


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
