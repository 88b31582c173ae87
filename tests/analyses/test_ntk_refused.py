"""What a tangent kernel refuses, and what it names: coupled samples, outputs without a gradient, numbers that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from whole_jacobians import small

from statescope import DeltaNet, empirical_ntk
from statescope.analyses.ntk import plan
from statescope.analyses.ntk.empirical_ntk import by_layer, tangent_kernel
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.ntk.samples import Samples
from statescope.analyses.ntk.state import state_tangent
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.errors import UnknownNameError


class Centred(nn.Module):
    """Each sample minus the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0))


def test_samples_that_are_coupled_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        empirical_ntk(model, torch.randn(2, 1, 3))
    with pytest.raises(ValueError, match="other outputs than in the batch"):
        empirical_ntk(Centred(), torch.randn(3, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'trace'"):
        empirical_ntk(nn.Linear(3, 3), torch.randn(2, 1, 3), output="tracee")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"read must give the outputs of each sample, \[1, outputs\] for 1; it gave \(1, 1, 3\)"):
        empirical_ntk(nn.Linear(3, 3), torch.randn(2, 1, 3), read=lambda y: y)


class WithoutSlope(nn.Module):
    """Finite outputs whose gradient is not, the root of a square that is zero; or a logarithm of what is negative."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(3, 2), act, nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class RootOfZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (0 * x).square().sqrt()


class LogOfNegative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (-x.square() - 1).log()


class Spoken(nn.Module):
    """A linear layer, and what a function makes of its outputs."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        self.layer, self.then = nn.Linear(3, 2), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.layer(x))


@pytest.mark.parametrize("method", ["structured", "jacobian"])
def test_outputs_without_a_gradient_are_refused_and_those_that_never_move_have_a_kernel_of_zeros(method: Any) -> None:
    """Batch normalisation in training couples samples; in evaluation it does not."""
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="got torch.int64; whole numbers have no gradient"):
        empirical_ntk(Spoken(lambda z: z.argmax(-1, keepdim=True)), x, method=method)
    with pytest.raises(ValueError, match="depend on no parameter .* detaches them"):
        empirical_ntk(Spoken(lambda z: z.detach()), x, method=method)
    with pytest.raises(ValueError, match="got torch.complex128; read their parts"):
        empirical_ntk(Spoken(lambda z: z * 1j), x, method=method)
    assert not empirical_ntk(Spoken(torch.round), x, method=method).any()
    normed = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) is in training mode, which couples samples"):
        empirical_ntk(normed, x, method=method)
    assert bool(empirical_ntk(normed.eval(), x, method=method).any())


def with_nan(model: nn.Module, name: str) -> nn.Module:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[1] = float("nan")
    return model


FINITE = torch.ones(3, 3)
INPUT_NAN = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, float("nan")]])
TOKENS = torch.zeros(2, 4, dtype=torch.long)
NOT_FINITE = [
    (lambda: with_nan(small(DeltaNet(heads=2)), "unembed.weight"), TOKENS, r"unembed.weight is nan at index \(0, 1\)"),
    (lambda: with_nan(small(DeltaNet(heads=2)), "embed.weight"), TOKENS, r"embed.weight is nan at index \(0, 1\)"),
    (lambda: nn.Linear(3, 2), INPUT_NAN, r"sample 1 are not finite: input 0 is nan at index \(1, 2\)"),
    (lambda: WithoutSlope(LogOfNegative()), FINITE, r"sample 0 are not finite: the output of act \(LogOfNegative\) is the first"),
    (lambda: WithoutSlope(RootOfZero()), FINITE, "gradient in first.weight is not"),
]


@pytest.mark.parametrize("method", ["structured", "jacobian", "ghost", "projected", "operator", "state"])
def test_what_is_not_finite_is_named_with_its_place(method: Any) -> None:
    """Whichever engine meets it, whether in a weight, an input, a module's output or a gradient."""
    for make, x, match in NOT_FINITE if method != "state" else NOT_FINITE[1:2]:
        with pytest.raises(NonFiniteError, match=match):
            if method == "operator":
                TangentKernelOperator(make(), x)
            elif method == "state":
                state_tangent(make(), x, [1, 3])
            else:
                empirical_ntk(make(), x, method=method)


@pytest.mark.parametrize("method", ["structured", "jacobian", "ghost", "projected"])
@pytest.mark.parametrize("tile", [None, 4])
def test_what_is_not_finite_is_numbered_among_all_samples(method: Any, tile: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever tile and pass it runs: the place within these is not where a user would look."""
    monkeypatch.setattr(plan, "CACHED", 1)
    x = torch.ones(9, 3)
    x[6, 2] = torch.nan
    for samples in (x, Samples(x)[torch.tensor([0, 1, 2, 3, 4, 5, 6])]):
        with pytest.raises(NonFiniteError, match=r"sample 6 are not finite: input 0 is nan at index \(6, 2\)"):
            empirical_ntk(nn.Linear(3, 2), samples, method=method, tile=tile)
    x[6, 2] = 1e4
    with pytest.raises(NonFiniteError, match="sample 6 are not finite: `read` made them so"):
        empirical_ntk(nn.Linear(3, 2), x, method=method, tile=tile, read=lambda values: values.abs().exp())


def test_a_mask_of_minus_infinity_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(3, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (self.scores(x) + mask).softmax(-1)

    mask = torch.tensor([0.0, 0.0, float("-inf"), 0.0]).repeat(3, 1)
    model = Masked()
    assert bool(empirical_ntk(model, Samples(torch.randn(3, 3), mask)).isfinite().all())
    with pytest.raises(NonFiniteError, match="`read` made them so"):
        empirical_ntk(model, Samples(torch.randn(3, 3), mask), read=torch.log)


def test_no_hook_is_left_behind() -> None:
    model = nn.Linear(3, 2)
    empirical_ntk(model, torch.randn(2, 1, 3), read=lambda y: y[:, -1])
    assert not model._forward_hooks


@pytest.mark.parametrize("output", [1.0, None, True, "all", torch.tensor(0.5)])
def test_an_output_that_is_none_is_refused_and_a_whole_number_of_any_kind_is_one(output: Any) -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    for make in (tangent_kernel, TangentKernelOperator):
        with pytest.raises(UnknownNameError, match="trace, full, the index of one"):
            make(model, x, output=output)
    exact = empirical_ntk(model, x, output=1)
    for index in (np.int64(1), torch.tensor(1)):
        torch.testing.assert_close(empirical_ntk(model, x, output=index), exact)  # type: ignore[arg-type]
    assert (exact - empirical_ntk(model, x)).norm() > 0.1 * exact.norm()


@pytest.mark.parametrize("tile", [0, -1, 1.5])
def test_a_tile_that_is_none_is_refused(tile: Any) -> None:
    """Products over no tiles would be zeros."""
    for make in (tangent_kernel, TangentKernelOperator):
        with pytest.raises(ValueError, match=f"tile={tile} must be a positive whole number"):
            make(nn.Linear(3, 2), torch.randn(4, 3), tile=tile)


def test_parameters_without_values_are_refused() -> None:
    for model, how in ((nn.LazyLinear(2), "run the model once"), (nn.Linear(3, 2, device="meta"), "load its weights")):
        with pytest.raises(ValueError, match=f"weight has no values yet: {how}"):
            tangent_kernel(model, torch.randn(4, 3))


def test_outside_the_layers_a_parameter_belongs_to_its_module() -> None:
    layers = {"blocks.0.attn.project.q.weight": "blocks.0", "foreign.transformer.h.11.ln_1.bias": "foreign.transformer.h.11"}
    modules = {"foreign.transformer.wte.weight": "foreign.transformer.wte", "embed.weight": "embed", "scale": "scale"}
    for name, group in (layers | modules).items():
        assert by_layer(name) == group
