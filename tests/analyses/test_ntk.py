"""The tangent kernel against torch.func's Jacobians: every mixer, shapes that mislead rules, and what must be refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from statescope import Attention, DeltaNet, GatedDeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk.empirical_ntk import tangent_kernel
from statescope.analyses.ntk.spectrum import NotPositiveError, tangent_spectrum
from statescope.probe.errors import UnknownNameError


def by_torch_func(model: nn.Module, x: Tensor, read: Any) -> Tensor:
    """[N, O, N, O] from whole Jacobians."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    jacobian = jacrev(lambda p: read(functional_call(model, p, (x,))))(parameters)
    flat = torch.cat([part.flatten(2) for part in jacobian.values()], dim=-1)
    return torch.einsum("iop,jqp->iojq", flat, flat)


def last(logits: Tensor) -> Tensor:
    return logits[:, -1]


MIXERS = [
    DeltaNet(heads=2, key_size=3, value_size=4),
    GatedDeltaNet(heads=2, householders=2),
    Attention(heads=2),
    (GatedDeltaNet(heads=2), Attention(heads=2)),
]


@pytest.mark.parametrize("mixer", MIXERS, ids=["delta", "gated-product", "attention", "hybrid"])
def test_it_is_the_gram_matrix_of_the_jacobian(mixer: Any) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=mixer)).double().eval()
    x = torch.randint(0, 5, (4, 7))
    exact = by_torch_func(model, x, last)
    full, trace = empirical_ntk(model, x, "full"), empirical_ntk(model, x, "trace")
    torch.testing.assert_close(full, exact, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(trace, torch.einsum("iojo->ij", exact), rtol=1e-10, atol=1e-12)


def test_all_positions_as_outputs() -> None:
    model = Model(ModelConfig(vocabulary=3, width=4, layers=1, mixer=DeltaNet(heads=1))).double().eval()
    x = torch.randint(0, 3, (3, 5))
    read = lambda logits: logits.flatten(1)  # noqa: E731
    torch.testing.assert_close(empirical_ntk(model, x, "full", read=read), by_torch_func(model, x, read))


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
    torch.testing.assert_close(empirical_ntk(model, x, "full", read=read), exact)
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


def test_samples_that_are_coupled_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        empirical_ntk(model, torch.randn(2, 1, 3), read=lambda y: y[:, -1])
    with pytest.raises(UnknownNameError, match="did you mean 'trace'"):
        empirical_ntk(nn.Linear(3, 3), torch.randn(2, 1, 3), "tracee", read=lambda y: y[:, -1])  # type: ignore[arg-type]


def test_no_hook_is_left_behind() -> None:
    model = nn.Linear(3, 2)
    empirical_ntk(model, torch.randn(2, 1, 3), read=lambda y: y[:, -1])
    assert not model._forward_hooks


def test_targets_that_are_an_eigenvector_lie_in_the_first_direction() -> None:
    """Two balanced classes: their centred one-hot matrix has one direction y. With K = I + 9 y y^T it comes first."""
    targets = torch.tensor([0, 1] * 10)
    y = torch.nn.functional.normalize(2.0 * targets.double() - 1, dim=0)
    kernel = torch.eye(20, dtype=torch.float64) + 9 * torch.outer(y, y)
    spectrum = tangent_spectrum({("m", "now"): kernel}, targets).table
    assert spectrum["eigenvalue"].iloc[0] == pytest.approx(10)
    assert spectrum["target_share"].iloc[0] == pytest.approx(1)
    assert spectrum["effective_rank"].iloc[0] == pytest.approx(29**2 / (100 + 19))
    # centred: I loses its mean direction, so K_c = (I - 11^T/20) + 9 yy^T; alignment with yy^T
    expected = 10 / (100 + 18) ** 0.5
    assert spectrum["alignment"].iloc[0] == pytest.approx(expected)
    shuffled = tangent_spectrum({("m", "now"): kernel}, targets[torch.randperm(20)]).table
    assert shuffled["alignment"].iloc[0] < 0.9 * expected


def test_a_kernel_that_is_not_positive_is_refused() -> None:
    kernel = torch.eye(4, dtype=torch.float64)
    kernel[0, 1] = kernel[1, 0] = 2.0
    with pytest.raises(NotPositiveError, match="eigenvalue -1"):
        tangent_spectrum({("m", "now"): kernel}, torch.tensor([0, 1, 0, 1]))
