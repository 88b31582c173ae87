"""What kernels predict: distillation, random scales, ensembles, bundled features, reconstruction. Each beside a wrong variant."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.network import infinite_width_kernels
from statescope.analyses.infinite_width.nonlinearities import Erf
from statescope.analyses.kernel_regression.activation_features import ActivationFeatures, GaussianFeatures, SineFeatures
from statescope.analyses.kernel_regression.reconstruction import gradient_features, reconstruct
from statescope.analyses.kernel_regression.ridge import kernel_ridge, trained_ensemble
from statescope.analyses.kernel_regression.self_distillation import (
    best_second_weight,
    self_distillation,
    self_distillation_limit,
)
from statescope.analyses.kernel_regression.student_process import inverse_gamma_scales, student_process
from statescope.analyses.lazy.tangent_model import TangentModel
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.kernels.arguments import NonFiniteError


def problem(samples: int = 9, test: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernel [N, N], cross kernel [M, N], own variances [M] and targets [N, 2]."""
    draw = torch.randn(samples + test, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = infinite_width_kernels(DenseNetwork(2, bias_variance=0.1), draw).ntk
    y = torch.randn(samples, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return kernel[:samples, :samples], kernel[samples:, :samples], kernel.diagonal()[samples:], y


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_chain_of_fits_in_closed_form(weight: float) -> None:
    kernel, cross, _, y = problem()
    chain, targets = self_distillation(kernel, y, 0.2, weight, 5, cross), y
    for fit in range(5):
        torch.testing.assert_close(chain.test[fit], kernel_ridge(kernel, targets, cross, 0.2).mean, rtol=0, atol=1e-10)
        targets = weight * y + (1 - weight) * kernel_ridge(kernel, targets, kernel, 0.2).mean
    wrong = self_distillation(kernel, y, 0.2, 0.9 * weight + 0.05, 5, cross)
    assert (wrong.test[-1] - chain.test[-1]).norm() > 1e-3
    if weight:
        limit = self_distillation_limit(kernel, y, 0.2, weight, cross)
        torch.testing.assert_close(self_distillation(kernel, y, 0.2, weight, 3000, cross).test[-1], limit, rtol=0, atol=1e-10)
        other = kernel_ridge(kernel, y, cross, 0.2 * weight).mean
        assert weight == 1.0 or (other - limit).norm() > 1e-3


def test_without_targets_every_mode_shrinks_by_its_own_share() -> None:
    kernel, _, _, y = problem()
    values, vectors = torch.linalg.eigh(kernel)
    left = vectors.T @ self_distillation(kernel, y, 0.2, 0.0, 4).train[-1] / (vectors.T @ y)
    torch.testing.assert_close(left[:, 0], (values / (values + 0.2)) ** 4, rtol=1e-8, atol=0)


def test_the_best_weight_of_the_second_fit() -> None:
    kernel, cross, _, y = problem(12, 30)
    first, second = self_distillation(kernel, y, 0.5, 0.0, 2, cross).test
    held = 0.3 * first + 0.7 * second + 1e-3 * torch.randn(first.shape, generator=torch.Generator().manual_seed(3)).double()
    assert best_second_weight(first, second, held) == pytest.approx(0.3, abs=0.01)
    assert best_second_weight(first, second, first + 5 * (first - second)) == 1.0
    with pytest.raises(ValueError, match="every weight"):
        best_second_weight(first, first, held)
    for bad in ({"ridge": 0.0, "weight": 0.5}, {"ridge": 0.1, "weight": 1.2}):
        with pytest.raises(ValueError, match="ridge > 0"):
            self_distillation(kernel, y, steps=2, **bad)
    with pytest.raises(ValueError, match="ends at zero"):
        self_distillation_limit(kernel, y, 0.1, 0.0, cross)


def test_a_random_scale_is_integrated_out() -> None:
    """The posterior against scales on a grid, each weighted by its prior and by the density that it gives the targets."""
    kernel, cross, own, y = problem()
    found = student_process(kernel, y, cross, own, 1.5, 2.0)
    gaussian = kernel_ridge(kernel, y, cross, 0.0, own)
    assert gaussian.variance is not None
    logs = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    weights = []
    for scale in logs.exp():
        law = MultivariateNormal(torch.zeros(len(y)).double(), scale * kernel)
        weights.append(law.log_prob(y.T).sum() - 1.5 * scale.log() - 2.0 / scale)  # times the scale, d scale = scale d log scale
    shares = torch.stack(weights).softmax(0)
    expected = (shares * logs.exp()).sum() * gaussian.variance
    torch.testing.assert_close(found.variance, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.location, gaussian.mean)
    assert found.degrees == 3 + y.numel()
    one_column = student_process(kernel, y[:, :1], cross, own, 1.5, 2.0)
    assert (one_column.variance / found.variance - 1).abs().max() > 0.01
    with pytest.raises(ValueError, match="must be positive"):
        student_process(kernel, y, cross, own, 0.0, 1.0)


def test_scales_are_drawn_from_the_inverse_gamma_law() -> None:
    drawn = inverse_gamma_scales(2.5, 3.0, 200_000, torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(3.0 / 1.5, rel=0.02)
    assert float((1 / drawn).mean()) == pytest.approx(2.5 / 3.0, rel=0.01)
    with pytest.raises(ValueError, match="whole number"):
        inverse_gamma_scales(0.3, 1.0, 3, torch.Generator())


def test_an_ensemble_of_trained_networks_against_linear_models_that_are_trained() -> None:
    """f = features . w with w ~ N(0, diag s): NTK features features^T, NNGP features diag s features^T; all trained."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 30, generator=generator, dtype=torch.float64)
    test = torch.randn(3, 30, generator=generator, dtype=torch.float64)
    spread, y = torch.rand(30, generator=generator).double(), torch.randn(5, 1, generator=generator).double()
    weights = spread.sqrt()[:, None] * torch.randn(30, 40_000, generator=generator, dtype=torch.float64)
    trained = weights + torch.linalg.pinv(features) @ (y - features @ weights)
    outputs = test @ trained
    ntk, cross = features @ features.T, test @ features.T
    nngp, test_nngp = (features * spread) @ features.T, (test * spread) @ features.T
    own = ((test * spread) * test).sum(1)
    found = trained_ensemble(nngp, ntk, y, test_nngp, cross, own)
    assert found.variance is not None
    torch.testing.assert_close(outputs.var(1), found.variance, rtol=0.04, atol=0)
    torch.testing.assert_close(outputs.mean(1), found.mean[:, 0], rtol=0, atol=0.1)
    bayesian = kernel_ridge(nngp, y, test_nngp, 0.0, own).variance
    assert bayesian is not None
    assert (found.variance / bayesian - 1).abs().max() > 0.05
    same = trained_ensemble(nngp, nngp, y, test_nngp, test_nngp, own).variance
    torch.testing.assert_close(same, bayesian, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [SineFeatures, GaussianFeatures])
def test_features_of_inputs_and_weights_average_to_the_unit(kind: type[ActivationFeatures]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (0.5 * torch.nn.functional.normalize(torch.randn(6, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    b = torch.randn(6, generator=generator, dtype=torch.float64)
    own = kind.drawn(4, 200_000, generator)
    exact = own.exact(x, w, b)
    estimate = own.of_inputs(x) @ own.of_weights(w, b).T
    assert (estimate - exact).abs().max() < 0.02
    assert (own.of_inputs(x) @ own.of_weights(w, -b).T - exact).abs().max() > 0.1
    if kind is GaussianFeatures:
        with pytest.raises(ValueError, match="below 0.5"):
            own.of_inputs(2 * x)


def test_points_are_found_again_from_the_gradients_that_add_up() -> None:
    model = DenseNetwork(1, Erf(), 2.0, 0.1).finite((3,), 128, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    features = gradient_features(model)
    narrow = gradient_features(copy.deepcopy(model).float())(x.float())  # a model of any precision
    torch.testing.assert_close(narrow, features(x), rtol=0, atol=1e-5)
    torch.testing.assert_close((features(x) @ features(x).T).detach(), empirical_ntk(model, x), rtol=0, atol=1e-10)
    change = torch.tensor([0.5, -1.0, 0.7]).double() @ features(x).detach()
    found = reconstruct(features, change, torch.randn(8, 3, generator=generator, dtype=torch.float64), 700)
    assert found.residual < 0.01
    assert torch.cdist(x, found.points).min(1).values.max() < 0.1
    noise = reconstruct(features, torch.randn(len(change), generator=generator).double(), found.points, 50)
    assert noise.residual > 0.5
    with pytest.raises(ValueError, match="not zero"):
        reconstruct(features, torch.zeros_like(change), x, 1)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_reconstruction_names_what_is_not_finite(wrong: float) -> None:
    model = DenseNetwork(1, Erf()).finite((3,), 4, torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = gradient_features(model)
    change = features(x).detach().sum(0)
    spoilt, bad_change = x.clone(), change.clone()
    spoilt[1, 2] = bad_change[3] = wrong
    with pytest.raises(NonFiniteError, match=rf"^candidates is {wrong} at index \(1, 2\)"):
        reconstruct(features, change, spoilt, 1)
    with pytest.raises(NonFiniteError, match=rf"^change is {wrong} at index \(3,\)"):
        reconstruct(features, bad_change, x, 1)
    with pytest.raises(ValueError, match="must be positive and finite"):
        reconstruct(features, change, x, 1, rate=wrong)
    for steps in (0, 3):
        with pytest.raises(NonFiniteError, match="at candidate 1 are not finite after 0 steps"):
            reconstruct(lambda points: features(points) + torch.tensor([[0.0], [wrong]]), change, x, steps)
    calls: list[int] = []

    def later(points: Tensor) -> Tensor:
        calls.append(1)
        return features(points) * (wrong if len(calls) > 3 else 1.0)  # the first call is that of shapes

    with pytest.raises(NonFiniteError, match="at candidate 0 are not finite after 2 steps"):
        reconstruct(later, change, x, 5)
    with torch.no_grad():
        model.get_parameter("maps.1.weight").view(-1)[2] = wrong
    with pytest.raises(NonFiniteError, match=rf"^maps.1.weight is {wrong} at index \(0, 2\)"):
        gradient_features(model)


def test_gradients_are_of_one_output_that_is_the_same_at_each_pass() -> None:
    with pytest.raises(ValueError, match=r"one output, \[N, 1\]; of one point it gave \(1, 2\)"):
        gradient_features(nn.Linear(3, 2))(torch.ones(2, 3))
    with pytest.raises(ValueError, match="training mode"):
        gradient_features(nn.Sequential(nn.Linear(3, 1), nn.Dropout()))


def test_a_tangent_is_linear_and_trains_by_its_kernel() -> None:
    model = DenseNetwork(1, Erf()).finite((3,), 16, torch.Generator().manual_seed(0))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tangent = TangentModel(model)
    torch.testing.assert_close(tangent(x), model(x))
    torch.testing.assert_close(empirical_ntk(tangent, x), empirical_ntk(model, x, method="jacobian"), rtol=0, atol=1e-10)
    along = {name: torch.randn(value.shape, dtype=torch.float64) for name, value in model.named_parameters()}
    one, two = (tangent.predict({name: scale * value for name, value in along.items()}, x) for scale in (1.0, 2.0))
    torch.testing.assert_close(two - one, one - model(x))
