"""Kernel regression: closed forms against gradient descent itself, and the eigenframework against experiments."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from statescope.analyses.kernel_regression.learning_curve import learning_curve_point
from statescope.analyses.kernel_regression.random_features import random_features_point
from statescope.analyses.kernel_regression.ridge import kernel_ridge, trained_ensemble
from statescope.analyses.kernel_regression.self_distillation import self_distillation
from statescope.analyses.kernel_regression.student_process import student_process
from statescope.analyses.operators.nystrom import NotPositiveError
from statescope.kernels.arguments import NonFiniteError


def problem(samples: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, size, generator=generator, dtype=torch.float64)
    return (
        x,
        torch.randn(samples, 2, generator=generator, dtype=torch.float64),
        torch.randn(3, size, generator=generator).double(),
    )


@pytest.mark.parametrize("size", [3, 40])
def test_descent_of_a_linear_model_step_by_step(size: int) -> None:
    """3 features for 12 samples: a kernel of rank 3, whose null space must stay where it started."""
    x, y, test = problem(12, size)
    w = torch.randn(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kernel, start, test_start = x @ x.T, x @ w, test @ w
    step = 0.7 * largest_stable_step(kernel)
    times = torch.tensor([0.0, 1.0, 5.0, 60.0])
    found = gradient_descent(kernel, y, times, step, test @ x.T, start, test_start)
    for t in range(61):
        if t in (0, 1, 5, 60):
            index = times.tolist().index(t)
            torch.testing.assert_close(found.train[index], x @ w, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(found.test[index], test @ w, rtol=1e-10, atol=1e-10)
        w = w - step * x.T @ (x @ w - y)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("time", [1.0, 1e6, 1e12, 1e18])
def test_rounding_in_a_kernel_of_deficient_rank_does_not_grow_with_time(time: float, dtype: torch.dtype) -> None:
    """4 features, 12 samples of which two stand twice: from the features' singular values, in which nothing is zero."""
    x, y, test = problem(12, 4)
    x, start, test_start = torch.cat([x[:10], x[:2]]), y.flip(0), torch.ones(3, 2, dtype=torch.float64)
    left, singular, right = torch.linalg.svd(x, full_matrices=False)
    learnt = (-torch.expm1(-singular.square() * time) / singular)[:, None] * (left.T @ (y - start))
    kernel, cross = (x @ x.T).to(dtype), (test @ x.T).to(dtype)
    found = gradient_descent(kernel, y, torch.tensor([time]).double(), None, cross, start, test_start)
    close = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-5}
    torch.testing.assert_close(found.train[0], start + left @ (singular[:, None] * learnt), **close)
    torch.testing.assert_close(found.test[0], test_start + test @ right.T @ learnt, **close)
    step = largest_stable_step(x @ x.T)
    stepped = gradient_descent(kernel, y, torch.tensor([time]).double().round(), 0.5 * step, cross, start, test_start)
    assert float(stepped.test.abs().max()) < 1e2


def test_a_kernel_in_float32_keeps_the_modes_that_it_can_tell() -> None:
    """Of 800 samples those of a twenty-thousandth of the largest are far above the rounding of entries, and are learnt."""
    generator = torch.Generator().manual_seed(0)
    size = 800
    vectors = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    values = torch.full((size,), 5e-5, dtype=torch.float64)
    values[0] = 1.0
    kernel = (vectors * values) @ vectors.T
    targets = vectors[:, 5:6]
    found = gradient_descent(kernel.float(), targets, torch.tensor([2e4, 1e7])).train
    torch.testing.assert_close(found[0], targets * (1 - math.exp(-1)), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[1], targets, rtol=0, atol=1e-3)


def test_a_kernel_of_deficient_rank_is_refused_however_it_rounds() -> None:
    """Of every fifth such system rounding leaves a Cholesky factor, and predictions that are nothing but rounding."""
    factored = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        size = 3 + seed % 10
        x = torch.randn(size, max(1, size - 1 - seed % 3), generator=generator, dtype=torch.float64)
        kernel, y = x @ x.T, torch.randn(size, 1, generator=generator, dtype=torch.float64)
        factored += int(torch.linalg.cholesky_ex(kernel).info) == 0
        with pytest.raises(NotPositiveError, match="give a larger ridge"):
            kernel_ridge(kernel, y, kernel)
        ridge = 1e-9 * float(kernel.trace())
        fit = kernel_ridge(kernel, kernel @ y, kernel, ridge).mean
        torch.testing.assert_close(fit, kernel @ y, rtol=1e-4, atol=1e-4 * float(kernel.norm()))
    assert factored >= 10


def test_gradient_flow_is_descent_of_small_steps() -> None:
    x, y, test = problem(8, 20)
    flow = gradient_descent(x @ x.T, y, torch.tensor([0.01, 0.1, 10.0]), test_kernel=test @ x.T)
    errors = []
    for step in (1e-4, 1e-5):
        steps = torch.tensor([0.01, 0.1, 10.0]) / step
        errors.append((gradient_descent(x @ x.T, y, steps, step, test @ x.T).test - flow.test).abs().max())
    assert float(errors[0] / errors[1]) == pytest.approx(10, rel=0.1)
    interpolating = test @ x.T @ torch.linalg.solve(x @ x.T, y)
    long = gradient_descent(x @ x.T, y, torch.tensor([1e6]), test_kernel=test @ x.T).test[0]
    torch.testing.assert_close(long, interpolating, rtol=1e-8, atol=1e-8)


def test_the_largest_stable_step_is_the_edge() -> None:
    x, y, _ = problem(20, 200)
    edge = largest_stable_step(x @ x.T)
    for factor, stays in ((0.98, True), (1.02, False)):
        w = torch.zeros(200, 2, dtype=torch.float64)
        for _ in range(2000):
            w = w - factor * edge * x.T @ (x @ w - y)
        assert (float((x @ w - y).norm()) < 1e-8) is stays
    with pytest.raises(ValueError, match="diverges; the largest stable one is"):
        gradient_descent(x @ x.T, y, torch.tensor([1.0]), 1.02 * edge)


def cube() -> tuple[Tensor, Tensor, Tensor]:
    """The kernel of a ReLU network with three hidden layers on the 8-cube, and its modes: all products of coordinates."""
    x = torch.tensor(list(product((-1.0, 1.0), repeat=8))).double()
    kernel = DenseNetwork(3, bias_variance=0.1).kernels(x * 2**-0.5, x * 2**-0.5).ntk
    modes = torch.stack([x[:, [bool(m & (1 << b)) for b in range(8)]].prod(1) for m in range(256)], 1)
    return kernel, modes, (modes * (kernel @ modes)).sum(0) / 256**2


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("samples", [16, 64])
def test_the_eigenframework_predicts_the_error_on_the_cube(order: int, samples: int) -> None:
    kernel, modes, values = cube()
    mode = 2**order - 1
    theory = learning_curve_point(values, torch.eye(256)[mode], samples)
    generator = torch.Generator().manual_seed(2)
    errors, learnt = [], []
    for _ in range(100):
        drawn = torch.randperm(256, generator=generator)[:samples]
        fit = kernel[:, drawn] @ torch.linalg.solve(kernel[drawn][:, drawn], modes[drawn, mode])
        errors.append(float((fit - modes[:, mode]).square().mean()))
        learnt.append(float((fit * modes[:, mode]).mean()))
    assert np.mean(errors) == pytest.approx(theory.test_error, rel=0.08)  # over all of the cube, the seen points among them
    assert np.mean(learnt) == pytest.approx(float(theory.learnability[mode]), abs=0.01)


def test_the_eigenframework_has_its_known_values_on_the_cube() -> None:
    kernel, _, values = cube()
    assert float(kernel[0, 0]) == pytest.approx(5.0, abs=1e-12)
    known = {1: (0.3152, 0.0210, 0.0025), 2: (0.9266, 0.2709, 0.0556), 3: (1.1978, 0.8552, 0.3883)}
    for order, errors in known.items():
        for samples, error in zip((16, 64, 128), errors, strict=True):
            found = learning_curve_point(values, torch.eye(256)[2**order - 1], samples).test_error
            assert found == pytest.approx(error, abs=5e-5)
            assert learning_curve_point(values, torch.eye(256)[2**order - 1], samples + 2).test_error < found - 5e-5


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_every_data_set_shares_out_its_samples_as_learnability(ridge: float) -> None:
    """Over all modes sum L = tr K (K + ridge)^-1 exactly, of the very samples drawn: n without a ridge."""
    kernel, modes, _ = cube()
    drawn = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:50]
    inner = kernel[drawn][:, drawn]
    fits = kernel_ridge(inner, modes[drawn], kernel[:, drawn], ridge).mean
    held = torch.linalg.eigvalsh(inner)
    assert float((fits * modes).mean(0).sum()) == pytest.approx(float((held / (held + ridge)).sum()), abs=1e-8)
    other = kernel_ridge(inner, modes[drawn], kernel[:, drawn], ridge + 0.1).mean
    assert abs(float((other * modes).mean(0).sum()) - float((held / (held + ridge)).sum())) > 1


def test_the_eigenframework_on_a_gaussian_design() -> None:
    size, samples, ridge, noise = 800, 160, 0.05, 0.1
    values = torch.arange(1, size + 1).double() ** -1.5
    target = torch.arange(1, size + 1).double() ** -1.0
    theory = learning_curve_point(values, target, samples, ridge, noise)
    generator = torch.Generator().manual_seed(0)
    test, train = [], []
    for _ in range(12):
        features = torch.randn(samples, size, generator=generator, dtype=torch.float64)
        y = features @ target + noise**0.5 * torch.randn(samples, generator=generator, dtype=torch.float64)
        kernel = (features * values) @ features.T
        alpha = torch.linalg.solve(kernel + ridge * torch.eye(samples).double(), y)
        test.append(float((values * (features.T @ alpha) - target).square().sum()) + noise)
        train.append(float((kernel @ alpha - y).square().mean()))
    assert np.mean(test) == pytest.approx(theory.test_error, rel=0.04)
    assert np.mean(train) == pytest.approx(theory.train_error, rel=0.06)
    assert theory.test_error != pytest.approx(
        learning_curve_point(values, target, samples, 2 * ridge, noise).test_error, rel=1e-4
    )


def test_learnability_is_conserved() -> None:
    """Without a ridge the modes share exactly n units of it."""
    values = torch.rand(120, generator=torch.Generator().manual_seed(0)).double() + 1e-3
    for samples in (1, 50, 119):
        point = learning_curve_point(values, torch.ones(120), samples)
        assert float(point.learnability.sum()) == pytest.approx(samples, abs=1e-8)
        assert point.train_error == 0.0
    assert float(learning_curve_point(values, torch.ones(120), 50, ridge=0.2).learnability.sum()) < 50
    with pytest.raises(ValueError, match="determine 120 modes exactly"):
        learning_curve_point(values, torch.ones(120), 120)


@pytest.mark.parametrize(("a", "b", "expected"), [(1.5, 2.0, -1.0), (2.0, 1.5, -0.5), (1.5, 6.0, -3.0)])
def test_power_laws_give_the_known_exponents(a: float, b: float, expected: float) -> None:
    """l_i = i^-a and v_i^2 = i^-b: the error falls as n^-min(b - 1, 2 a) (Bordelon et al. 2020, Spigler et al. 2020)."""
    index = torch.arange(1, 200_001).double()
    samples = np.array([64, 128, 256, 512])
    errors = [learning_curve_point(index**-a, index ** (-b / 2), int(n)).test_error for n in samples]
    assert np.polyfit(np.log(samples), np.log(errors), 1)[0] == pytest.approx(expected, abs=0.07)


def test_between_two_steps_that_overshoot_there_are_no_predictions() -> None:
    """(1 - step l)^t has no real value there; below that step it is the path between them."""
    kernel, targets = torch.diag(torch.tensor([1.0, 4.0])).double(), torch.ones(2, 1).double()
    times = torch.tensor([0.5, 1.0])
    with pytest.raises(ValueError, match="above the step 0.25 .* whole numbers"):
        gradient_descent(kernel, targets, times, step=0.4)
    assert bool(gradient_descent(kernel, targets, times, step=0.2).train.isfinite().all())
    assert bool(gradient_descent(kernel, targets, torch.tensor([1.0, 3.0]), step=0.4).train.isfinite().all())


KERNEL, TARGETS, TIMES = torch.eye(2), torch.ones(2, 1), torch.tensor([1.0])
NAN = float("nan")
UPPER = torch.tensor([[1.0, 0.5], [0.0, 1.0]])  # whose lower half says another kernel
REFUSED = [
    (lambda: gradient_descent(torch.diag(torch.tensor([1.0, -0.5])), TARGETS, TIMES), NotPositiveError, "eigenvalue -0.5"),
    (lambda: gradient_descent(torch.tensor([[1.0, 0.9], [0.0, 1.0]]), TARGETS, TIMES), ValueError, "not symmetric"),
    (lambda: gradient_descent(NAN * KERNEL, TARGETS, TIMES), NonFiniteError, r"kernel is nan at index \(0, 0\)"),
    (lambda: gradient_descent(KERNEL, TARGETS, -TIMES), ValueError, "times from 0"),
    (lambda: gradient_descent(KERNEL, TARGETS, TIMES, step=-0.1), ValueError, "positive, finite step"),
    (lambda: gradient_descent(KERNEL, TARGETS, TIMES, test_kernel=torch.ones(3, 5)), ValueError, "must be 2"),
    (lambda: gradient_descent(0 * KERNEL, TARGETS, TIMES, step=largest_stable_step(0 * KERNEL)), ValueError, "finite step"),
    (lambda: gradient_descent(KERNEL, TARGETS, TIMES[:0]), ValueError, "times from 0"),
    (lambda: largest_stable_step(KERNEL[:0, :0]), ValueError, "no samples"),
    (lambda: kernel_ridge(UPPER, TARGETS, KERNEL), ValueError, "not symmetric"),
    (lambda: kernel_ridge(KERNEL, TARGETS, KERNEL, float("inf")), ValueError, "ridge=inf"),
    (lambda: trained_ensemble(UPPER, KERNEL, TARGETS, KERNEL, KERNEL, torch.ones(2)), ValueError, "nngp is not symmetric"),
    (lambda: student_process(UPPER, TARGETS, KERNEL, torch.ones(2), 2.0, 1.0), ValueError, "not symmetric"),
    (lambda: student_process(KERNEL, TARGETS, KERNEL, torch.ones(2), float("inf"), 1.0), ValueError, "finite"),
    (lambda: self_distillation(KERNEL, TARGETS, float("inf"), 0.5, 2), ValueError, "finite ridge"),
    (lambda: learning_curve_point(torch.ones(3), torch.ones(3), 2, float("inf")), ValueError, "finite"),
    (lambda: learning_curve_point(torch.ones(0), torch.ones(0), 1, 1.0), ValueError, "positive eigenvalues"),
    (lambda: random_features_point(torch.ones(3), torch.ones(3), 2, 2, 1.0, float("inf")), ValueError, "finite"),
    (lambda: largest_stable_step(NAN * KERNEL), NonFiniteError, "kernel"),
    (lambda: kernel_ridge(KERNEL + 0j, TARGETS, KERNEL), TypeError, "kernel is complex"),
    (lambda: kernel_ridge(KERNEL, NAN * TARGETS, KERNEL), NonFiniteError, "targets"),
    (lambda: kernel_ridge(KERNEL, TARGETS, torch.ones(3, 2), 0.1, torch.ones(1)), ValueError, "test_variance .* must be 3"),
    (lambda: learning_curve_point(torch.ones(3), torch.ones(3), 2, noise=-1.0), ValueError, "noise"),
    (lambda: learning_curve_point(torch.tensor([1.0, NAN]), torch.ones(2), 1), NonFiniteError, "eigenvalues"),
    (lambda: learning_curve_point(torch.ones(3), torch.ones(3), 2, ridge=NAN), ValueError, "ridge"),
    (lambda: self_distillation(NAN * KERNEL, TARGETS, 1.0, 0.5, 2), NonFiniteError, "kernel"),
    (lambda: self_distillation(-KERNEL, TARGETS, 1.0, 0.5, 2), NotPositiveError, "eigenvalue -1"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_kernel_and_what_does_not_fit_is_refused(call: Any, error: type[Exception], match: str) -> None:
    """Each would be a number otherwise: NaN, a divergence, what is broadcast, or what is left of a complex number."""
    with pytest.raises(error, match=match):
        call()
