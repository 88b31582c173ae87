"""Hessian, Gauss-Newton and Fisher operators against whole matrices, and against the tangent kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_checks import check_operator
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev

from statescope import GatedDeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.operators.curvature import GaussNewton, Hessian
from statescope.analyses.operators.density import spectral_density
from statescope.analyses.operators.estimators import hutch_plus_plus_trace, hutchinson_diagonal
from statescope.analyses.operators.fisher import EmpiricalFisher, Fisher
from statescope.analyses.operators.lanczos import top_eigenpairs
from statescope.analyses.operators.nystrom import conjugate_gradients, nystrom
from statescope.kernels.arguments import NonFiniteError


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
def test_vectors_of_one_product_share_a_pass_over_each_batch(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    operator = kind(model, half_square, [(torch.randn(n, 3), torch.randn(n, 2)) for n in (2, 5)])
    vectors = torch.randn(operator.shape[0], 4, dtype=torch.float64)
    together = operator.matmat(vectors)
    assert len(passes) == 2
    each = torch.stack([operator.matmat(vector[:, None])[:, 0] for vector in vectors.unbind(1)], 1)
    torch.testing.assert_close(together, each, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("kind", [Hessian, GaussNewton, EmpiricalFisher])
def test_each_holds_what_every_operator_must(kind: Any) -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Tanh(), nn.Linear(3, 4))
    batches = [(torch.randint(0, 4, (n, 5)), torch.randint(0, 4, (n, 5))) for n in (2, 3)]
    operator = kind(model, batches) if kind is EmpiricalFisher else kind(model, cross_entropy, batches)
    assert operator.self_adjoint
    check_operator(operator)


class Turned(nn.Module):
    """The real part of a complex diagonal between real maps."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.turn = nn.Linear(2, 3), nn.Parameter(torch.randn(3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (self.inward(x) * self.turn.exp()).real


def test_a_complex_parameter_counts_by_its_two_parts() -> None:
    """Against the same function of real numbers in pairs, and by the spectrum that it shares with the tangent kernel."""
    model, x, y = Turned(), torch.randn(2, 2), torch.randn(2, 3)
    real = {name: value.detach().double() for name, value in model.named_parameters() if name != "turn"}
    pairs = torch.view_as_real(model.turn.detach().to(torch.complex128))

    def loss(vector: Tensor) -> Tensor:
        turn, weight, bias = vector[:6].reshape(3, 2), vector[6:12].reshape(3, 2), vector[12:]
        size, angle = turn[:, 0].exp(), turn[:, 1]
        return half_square((x.double() @ weight.T + bias) * size * angle.cos(), y.double())

    at = torch.cat([pairs.flatten(), real["inward.weight"].flatten(), real["inward.bias"]])
    operator = Hessian(model, half_square, [(x, y)])
    assert operator.shape == (15, 15)
    assert operator.parameters["turn"] == slice(0, 6)
    torch.testing.assert_close(operator.matmat(torch.eye(15, dtype=torch.float64)), hessian(loss)(at), rtol=1e-9, atol=1e-11)
    newton = GaussNewton(model, half_square, [(x, y)]).matmat(torch.eye(15, dtype=torch.float64))
    kernel = empirical_ntk(model, x, output="full").reshape(6, 6)
    torch.testing.assert_close(torch.linalg.eigvalsh(newton)[-6:], torch.linalg.eigvalsh(kernel) / 2, rtol=1e-9, atol=1e-11)
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


def labels_gradients(model: nn.Module, x: Tensor) -> list[tuple[float, int, Tensor]]:
    """For each sample and label: p(label | sample), the label and the gradient of its log-probability."""
    found = []
    for sample in x:
        logits = model(sample)
        for label, p in enumerate(logits.detach().softmax(-1)):
            gradient = torch.autograd.grad(logits.log_softmax(-1)[label], list(model.parameters()), retain_graph=True)
            found.append((float(p), label, torch.cat([part.reshape(-1) for part in gradient])))
    return found


def classifier() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double(), torch.randn(5, 3, dtype=torch.float64)


def test_the_fisher_information_is_the_mean_over_the_models_own_labels() -> None:
    model, x = classifier()
    exact = torch.stack([p / 5 * torch.outer(g, g) for p, _, g in labels_gradients(model, x)]).sum(0)
    torch.testing.assert_close(Fisher(model, [x[:2], x[2:]]).dense(), exact, rtol=1e-9, atol=1e-12)
    uniform = torch.stack([torch.outer(g, g) / 15 for _, _, g in labels_gradients(model, x)]).sum(0)
    assert (uniform - exact).norm() > 0.05 * exact.norm()


def test_the_fisher_information_of_a_softmax_is_the_gauss_newton_matrix() -> None:
    """Whatever the labels, at every token of a sequence; and it is no empirical Fisher of any labels."""
    model, x, y = recurrent()
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    fisher = Fisher(model, [inputs for inputs, _ in batches])
    v = torch.randn(fisher.shape[1], 3, dtype=torch.float64)
    found = fisher.matmat(v)
    torch.testing.assert_close(found, GaussNewton(model, cross_entropy, batches).matmat(v), rtol=1e-9, atol=1e-13)
    empirical = EmpiricalFisher(model, batches).matmat(v)
    assert (empirical - found).norm() > 0.05 * found.norm()
    hessian_product = Hessian(model, cross_entropy, batches).matmat(v)
    assert (hessian_product - found).norm() > 0.01 * found.norm()


def test_the_empirical_fisher_is_the_mean_of_each_labels_gradient() -> None:
    model, x = classifier()
    y = torch.tensor([0, 2, 1, 1, 0])
    every = labels_gradients(model, x)
    exact = torch.stack(
        [torch.outer(every[3 * i + int(label)][2], every[3 * i + int(label)][2]) / 5 for i, label in enumerate(y)]
    )
    torch.testing.assert_close(EmpiricalFisher(model, [(x, y)]).dense(), exact.sum(0), rtol=1e-9, atol=1e-12)
    summed = torch.stack([every[3 * i + int(label)][2] for i, label in enumerate(y)]).sum(0)
    assert (torch.outer(summed, summed) / 25 - exact.sum(0)).norm() > 0.1 * exact.sum(0).norm()


def test_the_empirical_fisher_over_labels_drawn_from_the_model_is_the_fisher() -> None:
    """Of one sample, labels weighted by their probabilities: diag(p) - p p^T = sum_y p_y (e_y - p)(e_y - p)^T."""
    model, x = classifier()
    p = model(x[:1]).detach().softmax(-1)[0]
    each = [EmpiricalFisher(model, [(x[:1], torch.tensor([label]))]).dense() for label in range(3)]
    drawn = torch.stack([share * matrix for share, matrix in zip(p, each, strict=True)]).sum(0)
    torch.testing.assert_close(drawn, Fisher(model, [x[:1]]).dense(), rtol=1e-9, atol=1e-12)


def test_every_algorithm_takes_a_fisher() -> None:
    model, x, _ = recurrent()
    operator = Fisher(model, [x])
    check_operator(operator)
    matrix, generator = operator.dense(), torch.Generator().manual_seed(0)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    assert float(values[-1]) > -1e-12
    found = top_eigenpairs(operator, 3, generator, block=2)
    torch.testing.assert_close(found.values, values[:3], rtol=1e-8, atol=0)
    trace = hutch_plus_plus_trace(operator, 90, generator)
    assert trace.value == pytest.approx(float(values.sum()), rel=0.02)
    density = spectral_density(operator, 4, 30, generator)
    assert abs(density.trace_of(lambda v: v)[0] - float(values.sum())) < 5 * density.trace_of(lambda v: v)[1]
    low = nystrom(operator, 60, generator)
    target = torch.randn(len(matrix), 1, dtype=torch.float64)
    solved = conjugate_gradients(operator, target, 1e-3, preconditioner=low)
    exact = torch.linalg.solve(matrix + 1e-3 * torch.eye(len(matrix), dtype=torch.float64), target)
    torch.testing.assert_close(solved.x, exact, rtol=1e-6, atol=1e-6)
    diagonal, error = hutchinson_diagonal(operator, 60, generator)
    assert float(((diagonal - matrix.diagonal()) / error.clamp(min=1e-9)).square().mean()) < 4


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
    with pytest.raises(ValueError, match="samples in each"):
        Hessian(nn.Linear(3, 3), half_square, [(x, x), (x[:0], x[:0])])
    for labels in (torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([[0], [1]])):
        with pytest.raises(ValueError, match="one for each distribution"):
            EmpiricalFisher(nn.Linear(3, 3), [(x, labels)]).matvec(torch.ones(12, dtype=torch.float64))
    with pytest.raises(ValueError, match="no parameter"):
        GaussNewton(nn.Linear(3, 3).requires_grad_(False), half_square, [(x, x)])


class Rooted(nn.Module):
    """A square root behind a map, or whatever else is given: without a derivative, or a second one, where it reads zero."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(3, 2, bias=False), act, nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class Powered(nn.Module):
    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return x.abs() ** self.power if self.power > 0 else (-x.square() - 1).log()


OPERATORS: list[Any] = [
    lambda model, x, y: Hessian(model, cross_entropy, [(x[:1], y[:1]), (x[1:], y[1:])]),
    lambda model, x, y: GaussNewton(model, cross_entropy, [(x[:1], y[:1]), (x[1:], y[1:])]),
    lambda model, x, y: Fisher(model, [x[:1], x[1:]]),
    lambda model, x, y: EmpiricalFisher(model, [(x[:1], y[:1]), (x[1:], y[1:])]),
]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("make", OPERATORS, ids=["hessian", "gauss-newton", "fisher", "empirical"])
def test_what_is_not_finite_is_named_with_its_place(make: Any, wrong: float) -> None:
    """In a weight or an input before any product; in a module's output, a derivative or the vector by the product."""
    x, y = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1])
    spoilt = x.clone()
    spoilt[2, 1] = wrong
    with pytest.raises(NonFiniteError, match=rf"^inputs of batch 1 is {wrong} at index \(1, 1\)"):
        make(Rooted(nn.Tanh()), spoilt, y)
    model = Rooted(nn.Tanh())
    with torch.no_grad():
        model.second.weight[1, 0] = wrong
    with pytest.raises(NonFiniteError, match=rf"^second.weight is {wrong} at index \(1, 0\)"):
        make(model, x, y)
    vector = torch.ones(make(Rooted(nn.Tanh()), x, y).shape[1], dtype=torch.float64)
    with pytest.raises(NonFiniteError, match=r"sample 0 of batch 0 are not finite: the output of act \(Powered\) is the first"):
        make(Rooted(Powered(-1.0)), x, y).matvec(vector)
    silent = torch.cat([x[:1], 0 * x[1:]])
    with pytest.raises(NonFiniteError, match="gradient in first.weight is not"):
        make(Rooted(Powered(0.5)), torch.zeros_like(silent), y).matvec(vector)
    vector[4] = wrong
    with pytest.raises(NonFiniteError, match=rf"^vector is {wrong} at index \(4, 0\)"):
        make(Rooted(nn.Tanh()), x, y).matvec(vector)


def test_a_loss_or_a_derivative_of_it_that_there_is_not_says_so() -> None:
    x, y = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), torch.randn(2, 2)
    model, nan = nn.Linear(3, 2), torch.tensor([[0.0, float("nan")], [0.0, 0.0]])
    vector = torch.ones(8, dtype=torch.float64)
    for kind in (Hessian, GaussNewton):
        with pytest.raises(NonFiniteError, match=r"targets of batch 0 is nan at index \(0, 1\)"):
            kind(model, half_square, [(x, nan)])
        with pytest.raises(NonFiniteError, match="the loss is nan, of finite outputs"):
            kind(model, lambda f, _: (-f.square().sum() - 1).log(), [(x, y)]).matvec(vector)
    with pytest.raises(NonFiniteError, match="the loss has no second derivative"):
        GaussNewton(model, lambda f, _: ((f - f.detach()).abs() ** 1.5).sum(), [(x, y)]).matvec(vector)
    with pytest.raises(NonFiniteError, match="gradient in weight is not"):
        Hessian(model, lambda f, _: ((f - f.detach()).abs() ** 1.5).sum(), [(x, y)]).matvec(vector)


def test_every_place_of_a_sequence_is_a_distribution_of_its_own() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    x, y = (torch.randint(0, 4, (3, 5), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for sequences, places in (
        (EmpiricalFisher(model, [(x, y)]), EmpiricalFisher(model, [(x.flatten(), y.flatten())])),
        (Fisher(model, [x]), Fisher(model, [x.flatten()])),
    ):
        v = torch.randn(sequences.shape[0], 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        torch.testing.assert_close(sequences.matmat(v), places.matmat(v))
