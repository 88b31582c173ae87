"""Tangent kernels of modules whose first axis or weights mislead the rules that go by shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from whole_jacobians import by_torch_func

from statescope.analyses.ntk.empirical_ntk import tangent_kernel


class Positions(nn.Module):
    """Positions are looked up as [1, T]: the first axis is no sample's."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places, self.out = nn.Embedding(5, 6), nn.Embedding(20, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.tokens(x) + self.places(torch.arange(x.shape[1])[None])))


class PlacesInARow(Positions):
    """Positions are looked up as [T], which is as long as the batch where T = N."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.tokens(x) + self.places(torch.arange(x.shape[1]))))


class Tied(nn.Module):
    """The second use of a weight shows in the second output alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.a(x)[..., 0], self.b(torch.tanh(self.a(x)))[..., 1]], -1)


class TiedOutside(nn.Module):
    """A weight is used outside its module too, and in the second output alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return torch.stack([y[..., 0], (torch.tanh(y) @ self.layer.weight)[..., 1]], -1)


class TimeFirst(nn.Module):
    """Inside it tokens come first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x.transpose(0, 1))).cumsum(0)).transpose(0, 1)


class Gained(nn.Module):
    """A parameter of no layer, one that meets the data in a function without a rule, modules called by keyword, one of them twice
    and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)
        self.gain, self.angle = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=torch.atan2(torch.tanh(self.layer(input=x)), self.angle)) * self.gain


class Padded(nn.Module):
    """An embedding whose padding has no gradient, and the module's own in-place change of what left a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.embed(x)).mul_(2).tanh()


class OneByOne(nn.Module):
    """Samples run one after another, so that a use has no axis of samples, but for a gain behind all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gain = nn.Linear(3, 2), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.layer(row).tanh() for row in x.unbind()]) * self.gain


TOKENS, SEQUENCES, VECTORS = (4, 7), (4, 4, 3), (4, 3)
ODD = [
    (Positions, TOKENS, {"places.weight": "structured", "tokens.weight": "structured"}),
    (PlacesInARow, (4, 4), {"places.weight": "structured"}),
    (Tied, SEQUENCES, {"a.weight": "structured"}),
    (TiedOutside, SEQUENCES, {"layer.weight": "structured"}),
    (TimeFirst, SEQUENCES, {"a.weight": "alone", "b.bias": "alone"}),
    (Gained, SEQUENCES, {"gain": "structured", "angle": "alone", "layer.weight": "structured", "idle.weight": "unused"}),
    (Padded, TOKENS, {"embed.weight": "structured"}),
    (OneByOne, VECTORS, {"layer.weight": "alone", "layer.bias": "alone", "gain": "structured"}),
    (lambda: nn.Linear(3, 2), VECTORS, {"weight": "structured", "bias": "structured"}),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2)), VECTORS, {"2.weight": "structured"}),
]


@pytest.mark.parametrize(("make", "shape", "routes"), ODD, ids=range(len(ODD)))
def test_a_module_whose_first_axis_or_weights_mislead_the_rules(make: Any, shape: Any, routes: dict[str, str]) -> None:
    model = make().double()
    x = torch.randn(shape, dtype=torch.float64)
    if len(shape) == 2 and shape != VECTORS:
        x = torch.randint(0, 5, shape)
        x[0, -1] = 0  # padding, where it is one
    read = lambda y: y if y.ndim == 2 else y[:, -1]  # noqa: E731
    found = tangent_kernel(model, x, output="full")
    exact = by_torch_func(model, x, read)
    torch.testing.assert_close(found.values, exact, rtol=1e-10, atol=1e-12)
    assert routes.items() <= found.routes.items()
    assert set(found.routes) == {name for name, _ in model.named_parameters()}
