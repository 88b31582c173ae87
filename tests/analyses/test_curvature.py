"""Hessian and Gauss-Newton operators against whole matrices, and against the tangent kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_checks import check_operator
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev

from statescope import GatedDeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.operators.curvature import GaussNewton, Hessian
from statescope.analyses.operators.lanczos import top_eigenpairs


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(-1).mean() / 2


def recurrent() -> tuple[nn.Module, Tensor, Tensor]:
    model = Model(ModelConfig(vocabulary=4, width=4, layers=1, mixer=GatedDeltaNet(heads=1, key_size=2, value_size=2))).eval()
    return model, torch.randint(0, 4, (6, 5)), torch.randint(0, 4, (6, 5))


def flat(model: nn.Module, whole: Any) -> Tensor:
    names = list(dict(model.named_parameters()))
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    return torch.cat([torch.cat([whole[a][b].reshape(sizes[a], sizes[b]) for b in names], 1) for a in names], 0)


def test_the_hessian_is_the_matrix_of_second_derivatives() -> None:
    model, x, y = recurrent()
    double = model.double()
    parameters = {name: value.detach() for name, value in double.named_parameters()}
    exact = flat(double, jacrev(jacrev(lambda p: cross_entropy(functional_call(double, p, (x,)), y)))(parameters))
    operator = Hessian(double, cross_entropy, [(x[:4], y[:4]), (x[4:], y[4:])])  # unequal batches
    v = torch.randn(exact.shape[0], 2, dtype=torch.float64)
    torch.testing.assert_close(operator.matmat(v), exact @ v, rtol=1e-9, atol=1e-11)
    assert operator.parameters["embed.weight"].stop - operator.parameters["embed.weight"].start == 16


@pytest.mark.parametrize("kind", [Hessian, GaussNewton])
def test_each_holds_what_every_operator_must(kind: type[Hessian] | type[GaussNewton]) -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Tanh(), nn.Linear(3, 4))
    operator = kind(model, cross_entropy, [(torch.randint(0, 4, (n, 5)), torch.randint(0, 4, (n, 5))) for n in (2, 3)])
    assert operator.self_adjoint
    check_operator(operator)


@pytest.mark.parametrize("loss", [cross_entropy, half_square])
def test_gauss_newton_is_the_hessian_of_the_linearised_model(loss: Any) -> None:
    model, x, y = recurrent()
    double = model.double()
    targets = y if loss is cross_entropy else torch.randn(6, 5, 4, dtype=torch.float64)
    parameters = {name: value.detach() for name, value in double.named_parameters()}
    jacobian = jacrev(lambda p: functional_call(double, p, (x,)).reshape(-1))(parameters)
    matrix = torch.cat([jacobian[name].flatten(1) for name in parameters], 1)
    outputs = double(x).detach()
    curved = hessian(lambda f: loss(f.reshape(outputs.shape), targets))(outputs.reshape(-1))
    exact = matrix.T @ curved @ matrix
    operator = GaussNewton(double, loss, [(x, targets)])
    v = torch.randn(exact.shape[0], 2, dtype=torch.float64)
    torch.testing.assert_close(operator.matmat(v), exact @ v, rtol=1e-9, atol=1e-11)
    assert (Hessian(double, loss, [(x, targets)]).matmat(v) - exact @ v).norm() > 1e-4 * (exact @ v).norm()


def test_the_fisher_information_of_a_softmax_is_the_gauss_newton_matrix() -> None:
    """The mean, over labels drawn from the model itself, of the gradient's outer product."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    rows = []
    for i in range(5):
        logits = model(x[i])
        for label, p in enumerate(logits.detach().softmax(-1)):
            gradient = torch.autograd.grad(-logits.log_softmax(-1)[label], list(model.parameters()), retain_graph=True)
            rows.append((p / 5).sqrt() * torch.cat([part.reshape(-1) for part in gradient]))
    fisher = torch.stack(rows).T @ torch.stack(rows)
    operator = GaussNewton(model, cross_entropy, [(x, torch.randint(0, 3, (5,)))])
    torch.testing.assert_close(operator.dense(), fisher, rtol=1e-9, atol=1e-12)


def test_tangent_kernel_and_gauss_newton_share_their_spectrum() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    kernel = torch.linalg.eigvalsh(empirical_ntk(model, x, output="full").flatten(2).flatten(0, 1)).flip(0)
    operator = GaussNewton(model, half_square, [(x, torch.zeros(7, 2, dtype=torch.float64))])
    found = top_eigenpairs(operator, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(7 * found.values, kernel[:5], rtol=1e-9, atol=0)


def test_bad_input_is_refused() -> None:
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match="training mode"):
        Hessian(nn.Sequential(nn.Linear(3, 3), nn.Dropout()).train(), half_square, [(x, x)])
    with pytest.raises(ValueError, match="at least one batch"):
        Hessian(nn.Linear(3, 3), half_square, [])
    with pytest.raises(ValueError, match="no parameter"):
        GaussNewton(nn.Linear(3, 3).requires_grad_(False), half_square, [(x, x)])
