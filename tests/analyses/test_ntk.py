"""The tangent kernel against torch.func's Jacobians: every mixer, shared and frozen weights, complex and rounded numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN
from torch import Tensor, nn
from torch.func import jacrev
from whole_jacobians import by_torch_func, last, small

from statescope import Attention, DeltaNet, GatedDeltaNet, Model, ModelConfig, empirical_ntk, load
from statescope.analyses.ntk import plan
from statescope.analyses.ntk.empirical_ntk import tangent_kernel

HYBRID = (GatedDeltaNet(heads=2), Attention(heads=2))


@pytest.mark.parametrize("mixer", [*MIXERS, HYBRID], ids=[*map(label, MIXERS), "hybrid"])
def test_it_is_the_gram_matrix_of_the_jacobian(mixer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of samples in one pass, and in two."""
    model = small(mixer, layers=2 if mixer is HYBRID else 1)
    x = torch.randint(0, 5, (4, 7))
    exact = by_torch_func(model, x, last)
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10 * float(exact.abs().max()))
    close(empirical_ntk(model, x, output="full"), exact)
    close(empirical_ntk(model, x), torch.einsum("iojo->ij", exact))
    monkeypatch.setattr(plan, "CACHED", 1)
    in_two = tangent_kernel(model, x)
    assert in_two.plan.in_a_pass == 2
    close(in_two.values, torch.einsum("iojo->ij", exact))


def test_all_positions_as_outputs() -> None:
    model = Model(ModelConfig(vocabulary=3, width=4, layers=1, mixer=DeltaNet(heads=1))).double().eval()
    x = torch.randint(0, 3, (3, 5))
    read = lambda logits: logits.flatten(1)  # noqa: E731
    torch.testing.assert_close(empirical_ntk(model, x, output="full", read=read), by_torch_func(model, x, read))


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


def test_a_shared_weight_has_the_sum_of_its_uses() -> None:
    model, x = Shared().double(), torch.randn(5, 3, 4, dtype=torch.float64)
    read = lambda y: y.sum(1)  # noqa: E731
    exact = by_torch_func(model, x, read)
    torch.testing.assert_close(empirical_ntk(model, x, output="full", read=read), exact)
    # The wrong variant adds the kernels of the two uses, and so loses their cross terms.
    inner, outer = _use(model, x, 0), _use(model, x, 1)
    whole = inner + outer
    wrong = torch.einsum("iop,jqp->iojq", inner, inner) + torch.einsum("iop,jqp->iojq", outer, outer)
    torch.testing.assert_close(torch.einsum("iop,jqp->iojq", whole, whole), exact)
    assert (wrong - exact).norm() > 1e-2 * exact.norm()


def _use(model: Shared, x: Tensor, use: int) -> Tensor:
    """The Jacobian through one use of the layer alone, [N, O, P]."""

    def f(weight: Tensor, bias: Tensor) -> Tensor:
        first = (weight, bias) if use == 0 else (model.layer.weight.detach(), model.layer.bias.detach())
        second = (weight, bias) if use == 1 else (model.layer.weight.detach(), model.layer.bias.detach())
        return nn.functional.linear(torch.tanh(nn.functional.linear(x, *first)), *second).sum(1)

    parts = jacrev(f, argnums=(0, 1))(model.layer.weight.detach(), model.layer.bias.detach())
    return torch.cat([part.flatten(2) for part in parts], dim=-1)


def test_the_ghost_rule_of_a_linear_layer_keeps_cross_positions() -> None:
    """(a.a')(g.g') summed over equal positions only, as some libraries do, is not the kernel."""
    layer, x = nn.Linear(3, 2, bias=False).double(), torch.randn(4, 5, 3, dtype=torch.float64)
    read = lambda y: (y * torch.arange(1, 6, dtype=torch.float64)[:, None]).sum((1, 2), keepdim=True)[:, 0]  # noqa: E731
    exact = by_torch_func(layer, x, read)[:, 0, :, 0]
    torch.testing.assert_close(empirical_ntk(layer, x, read=read), exact)
    gradient = torch.arange(1, 6, dtype=torch.float64)[:, None].expand(5, 2)
    diagonal_only = torch.einsum("ita,jta,to,to->ij", x, x, gradient, gradient)
    assert (diagonal_only - exact).norm() > 0.1 * exact.norm()


class Modulus(nn.Module):
    """|x W|^2 of complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).abs().square()


@pytest.mark.parametrize("samples", [1, 4])
def test_complex_samples_are_taken_to_double_precision(samples: int) -> None:
    """|x . w|^2 has the gradient 2 (x . w) conj(x), as real numbers in pairs."""
    model, x = Modulus(), torch.randn(samples, 3, dtype=torch.complex64)
    exact_x, exact_weight = x.to(torch.complex128), model.weight.detach().to(torch.complex128)
    rows = 2 * exact_x.conj()[:, :, None] * (exact_x @ exact_weight)[:, None]
    of_each = (rows[:, None].conj() * rows).sum(2).real  # an output depends on a column of its own
    exact = torch.diag_embed(of_each, dim1=1, dim2=3)
    torch.testing.assert_close(empirical_ntk(model, x, output="full"), exact, rtol=1e-12, atol=1e-12)


def test_parameters_without_gradient_are_not_counted() -> None:
    whole, frozen = small(DeltaNet(heads=2)), small(DeltaNet(heads=2))
    x = torch.randint(0, 5, (3, 6))
    for parameter in (frozen.embed.weight, frozen.unembed.weight):
        parameter.requires_grad_(False)
    found = tangent_kernel(frozen, x, output="full")
    torch.testing.assert_close(found.values, by_torch_func(frozen, x, last), rtol=1e-10, atol=1e-12)
    assert not {"embed.weight", "unembed.weight"} & set(found.routes)
    assert f"{len(found.routes)} parameters counted" in found.summary()
    assert (found.values - empirical_ntk(whole, x, output="full")).norm() > 0.1 * found.values.norm()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model has requires_grad"):
        empirical_ntk(frozen, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_rounded_parameters_is_exact_for_them(dtype: torch.dtype) -> None:
    """Sums that cancel in float32 refuse nothing: it is computed in float64, also without gradients around it."""
    rounded = Model(ModelConfig(vocabulary=5, width=12, layers=1, mixer=GatedDeltaNet(heads=2))).to(dtype).eval()
    x = torch.randint(0, 5, (3, 6))
    before = {name: value.clone() for name, value in rounded.state_dict().items()}
    with torch.no_grad():
        found = empirical_ntk(rounded, x)
    with torch.inference_mode():
        torch.testing.assert_close(empirical_ntk(rounded, x), found)
    assert all(torch.equal(value, before[name]) and value.dtype == dtype for name, value in rounded.state_dict().items())
    exact = by_torch_func(rounded.double(), x, last)
    torch.testing.assert_close(found, torch.einsum("iojo->ij", exact), rtol=1e-10, atol=1e-12)


def test_gradients_that_cancel_over_samples_are_no_failure() -> None:
    """Two samples x and -x: the whole gradient of the weight is 0 beside the rows, in any dtype."""
    x = torch.randn(1, 3).repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    found = tangent_kernel(nn.Linear(3, 2, bias=False), x)
    assert set(found.routes.values()) == {"structured"}
    torch.testing.assert_close(found.values, 2 * (x.double() @ x.double().T))


OF_EACH_ADAPTER = ("qwen3_next", "kimi_linear", "mamba", "mamba2", "recurrent_gemma", "minimax", "rwkv", "xlstm")


@pytest.mark.parametrize("name", OF_EACH_ADAPTER)
def test_a_loaded_model(name: str) -> None:
    """Against the gradient of each output of each sample, from a pass of its own; most parameters in one pass for all."""
    loaded: Any = load(FOREIGN[name]())
    if name in ("kimi_linear", "minimax"):  # whose mixtures of experts run by a product without float64
        loaded.foreign.set_experts_implementation("eager")
    model = loaded.double()
    x = torch.randint(0, 31, (2, 4))
    read = lambda logits: logits[:, -1, :2]  # noqa: E731
    found = tangent_kernel(model, x, output="full", read=read)
    rows = torch.stack([torch.cat([side.flatten() for side in row]) for row in _one_by_one(model, x, read)]).double()
    exact = rows @ rows.T
    assert (found.values.flatten(2).flatten(0, 1) - exact).norm() <= 1e-10 * exact.norm()
    assert sum(route == "alone" for route in found.routes.values()) <= 6


def _one_by_one(model: nn.Module, x: Tensor, read: Any) -> list[tuple[Tensor, ...]]:
    """The gradient of each output of each sample, from a pass of its own."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    values = [value for sample in x for value in read(model(sample[None]))[0]]
    return [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True) for value in values
    ]
