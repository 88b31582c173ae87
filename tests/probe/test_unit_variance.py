"""Layer-sequential unit variance: every linear map gives variance one, and what cannot be scaled is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from statescope.probe.mixers import DeltaNet
from statescope.probe.models.config import ModelConfig
from statescope.probe.models.model import Model
from statescope.probe.models.unit_variance import unit_variance_

X = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))


def outputs_of(model: nn.Module, *inputs: torch.Tensor) -> list[float]:
    kept: list[float] = []
    linear = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d)]
    keep = lambda module, args, out: kept.append(float(out.double().var()))  # noqa: E731
    handles = [module.register_forward_hook(keep) for module in linear]
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return kept


def test_a_deep_stack_keeps_its_signal() -> None:
    layers: list[nn.Module] = []
    for i in range(20):
        layers += [nn.Linear(10 if i == 0 else 32, 32), nn.ReLU()]
    stack = nn.Sequential(*layers, nn.Linear(32, 1))
    taken = unit_variance_(stack, X, generator=torch.Generator().manual_seed(1))
    assert len(taken) == 21
    assert max(taken.values()) <= 3
    assert outputs_of(stack, X) == pytest.approx([1.0] * 21, abs=0.02)
    weight = stack[2].weight.double()
    torch.testing.assert_close(weight @ weight.T / (weight @ weight.T)[0, 0], torch.eye(32).double(), rtol=0, atol=1e-5)
    nn.init.normal_(stack[0].weight)
    assert outputs_of(stack, X)[0] != pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("scaling", ["standard", "ntk"])
def test_projections_of_a_recurrent_model_are_scaled_through_their_parametrisation(scaling: str) -> None:
    tokens = torch.randint(0, 8, (8, 12), generator=torch.Generator().manual_seed(0))
    config = ModelConfig(8, 16, 2, DeltaNet(heads=2, short_convolution=0), parametrisation=scaling)  # type: ignore[arg-type]
    model = Model(config).eval()
    unit_variance_(model, tokens, generator=torch.Generator().manual_seed(1))
    found = outputs_of(model, tokens)
    assert found == pytest.approx([1.0] * len(found), abs=0.03)


def test_convolutions_and_shared_layers() -> None:
    shared = nn.Linear(10, 10)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Unflatten(1, (1, 10)), nn.Conv1d(1, 3, 3), nn.Flatten())
    taken = unit_variance_(model, X, generator=torch.Generator().manual_seed(1), tolerance=0.02)
    assert set(taken) == {"0", "4"}
    assert taken["0"] >= 1


def test_what_cannot_be_scaled_is_said() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="no layer to scale"):
        unit_variance_(nn.ReLU(), X, generator=generator)

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.left = nn.Linear(10, 2), nn.Linear(10, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    with pytest.raises(ValueError, match="left"):
        unit_variance_(Unused(), X, generator=generator)
    with pytest.raises(ValueError, match="variance 0"):
        unit_variance_(nn.Linear(10, 2, bias=False), torch.zeros(4, 10), generator=generator)
