"""The tangent kernel's products with vectors against the matrix, for every mixer and for modules that mislead rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from operator_checks import check_operator
from torch import Tensor, nn

from statescope import DeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk.empirical_ntk import by_layer, tangent_kernel
from statescope.analyses.ntk.jacobian import Jacobian
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.operators.estimators import hutchinson_trace
from statescope.analyses.operators.lanczos import top_eigenpairs


def matrix(model: nn.Module, x: Tensor) -> Tensor:
    full = empirical_ntk(model, x, output="full")
    return full.flatten(2).flatten(0, 1)


@pytest.mark.parametrize("mixer", MIXERS, ids=label)
def test_a_product_is_the_matrixs(mixer: Any) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=mixer)).eval()
    x = torch.randint(0, 5, (3, 6))
    operator = TangentKernelOperator(model, x)
    v = torch.randn(operator.shape[1], 2, dtype=torch.float64)
    torch.testing.assert_close(operator.matmat(v), matrix(model, x) @ v, rtol=1e-10, atol=1e-12)


class Awkward(nn.Module):
    """A tied weight, positions looked up once for all samples, a parameter in a function without a rule, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place, self.out = nn.Embedding(5, 4), nn.Embedding(9, 4), nn.Linear(4, 5)
        self.out.weight = self.embed.weight
        self.gain, self.frozen = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1])[None])
        return self.out(torch.atan2(self.frozen * x, self.gain).cumsum(1))


def test_awkward_parameters_are_in_it() -> None:
    model, x = Awkward(), torch.randint(0, 5, (4, 6))
    operator = TangentKernelOperator(model, x)
    assert operator.routes["gain"] == "alone"
    assert "frozen" not in operator.routes
    torch.testing.assert_close(operator.dense(), matrix(model, x), rtol=1e-10, atol=1e-12)


def test_it_holds_what_every_operator_must() -> None:
    operator = TangentKernelOperator(Awkward(), torch.randint(0, 5, (2, 3)))
    assert operator.self_adjoint
    check_operator(operator)


def test_spectral_algorithms_take_it() -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval()
    x = torch.randint(0, 5, (12, 7))
    operator = TangentKernelOperator(model, x, read=lambda out: out[:, -1, :1])
    exact = empirical_ntk(model, x, read=lambda out: out[:, -1, :1])
    found = top_eigenpairs(operator, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(exact).flip(0)[:3], rtol=1e-9, atol=0)
    trace = hutchinson_trace(operator, 40, torch.Generator().manual_seed(0))
    assert abs(trace.value - float(exact.trace())) < 5 * trace.standard_error


def test_columns_share_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backward passes: of one output two a product at most and none once it is kept; in tiles as many a block as a column."""
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval()
    x, v = torch.randint(0, 5, (6, 7)), torch.randn(6, 4, dtype=torch.float64)
    exact = empirical_ntk(model, x, output=1) @ v
    passes: list[str] = []
    for name in ("rows", "pulled_back"):
        counted = getattr(Jacobian, name)
        monkeypatch.setattr(Jacobian, name, lambda *given, name=name, counted=counted: passes.append(name) or counted(*given))
    whole, tiled = (TangentKernelOperator(model, x, output=1, tile=tile) for tile in (None, 3))

    def taken(operator: TangentKernelOperator, vectors: Tensor) -> int:
        passes.clear()
        torch.testing.assert_close(operator.matmat(vectors), exact[:, : vectors.shape[1]], rtol=1e-10, atol=1e-12)
        return len(passes)

    whole_first, whole_after = taken(whole, v[:, :1]), taken(whole, v)
    assert (whole_first, whole_after) == (1, 0)
    assert taken(tiled, v) == taken(tiled, v[:, :1]) == 4  # two tiles, on both sides


def test_parts_of_a_product_are_those_of_the_kernel() -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=DeltaNet(heads=2))).eval()
    x, v = torch.randint(0, 5, (6, 7)), torch.randn(6, 2, dtype=torch.float64)
    exact = tangent_kernel(model, x, group=by_layer)
    for tile in (None, 4):
        parts = TangentKernelOperator(model, x, output="trace", tile=tile).parts(v, by_layer)
        for name, own in exact.parts.items():
            torch.testing.assert_close(parts[name], own @ v, rtol=1e-10, atol=1e-12)


def test_training_mode_is_refused_as_for_the_matrix() -> None:
    with pytest.raises(ValueError, match="training mode"):
        TangentKernelOperator(nn.Sequential(nn.Linear(3, 3), nn.Dropout()).train(), torch.randn(2, 3))
    operator = TangentKernelOperator(nn.Linear(3, 2), torch.randn(4, 3))
    with pytest.raises(ValueError, match="cannot be applied"):
        operator.matvec(torch.ones(7, dtype=torch.float64))
    with pytest.raises(ValueError, match="convert one of them"):
        operator.matvec(torch.ones(8))
