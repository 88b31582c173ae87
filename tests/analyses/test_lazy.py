"""Lazy limits in width and in output scale, the exact limit of a diagonal network, and regression with a kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from theorems import lazy_in_width
from torch import Tensor, nn

from statescope.analyses.infinite_width.dense import DenseNetwork
from statescope.analyses.infinite_width.nonlinearities import Erf
from statescope.analyses.kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from statescope.analyses.kernel_regression.ridge import kernel_ridge
from statescope.analyses.lazy.centred_training import train_centred
from statescope.analyses.lazy.diagonal_network import diagonal_network_limit
from statescope.analyses.lazy.lazy_or_rich import Data, LazyOrRich, lazy_or_rich
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.analyses.operators.nystrom import NotPositiveError
from statescope.analyses.studies.lazy_or_rich import LazyOrRichStudy
from statescope.kernels.arguments import NonFiniteError

DOUBLE = torch.float64


def data(samples: int = 16) -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples + 12, 5, generator=generator, dtype=DOUBLE)
    y = (x[:, :1] * x[:, 1:2]).sign()
    return Data(x[:samples], y[:samples], x[samples:], y[samples:])


def network(width: int, seed: int = 0) -> nn.Module:
    return DenseNetwork(depth=2, nonlinearity=Erf(), weight_variance=1.5).finite((5,), width, torch.Generator().manual_seed(seed))


def test_a_network_that_is_linear_in_its_parameters_is_predicted_exactly() -> None:
    """The linearisation is the network; with a wrong time or a wrong kernel it is not."""
    own, model = data(), nn.Linear(5, 1).double()
    kernel, cross = empirical_ntk(model, own.train), empirical_ntk(model, own.test, own.train)
    step = 0.3 * largest_stable_step(kernel)
    run = train_centred(model, own.train, own.targets, own.test, scale=3.0, step=step, times=[0, 7, 40])
    exact = gradient_descent(kernel, own.targets, torch.tensor([0.0, 7, 40]), step, cross)
    torch.testing.assert_close(run.train, exact.train, rtol=0, atol=1e-10)
    torch.testing.assert_close(run.test, exact.test, rtol=0, atol=1e-10)
    late = gradient_descent(kernel, own.targets, torch.tensor([0.0, 8, 41]), step, cross)
    assert (late.test - run.test).abs().max() > 1e-3
    with pytest.raises(NonFiniteError, match="diverged"):
        train_centred(model, own.train, own.targets, own.test, scale=1.0, step=1e9, times=[400])


def test_what_is_recorded_stands_where_its_time_was_asked_for() -> None:
    given = data()
    steps = {"scale": 2.0, "step": 0.02}
    rising = train_centred(network(8), given.train, given.targets, given.test, times=[0, 3, 7], **steps)
    mixed = train_centred(network(8), given.train, given.targets, given.test, times=[7, 0, 3, 7], **steps)
    for whole, part in zip(mixed, rising, strict=True):
        assert torch.equal(whole, part[[2, 0, 1, 2]])
    assert rising.movement[0] == 0 < rising.movement[1] < rising.movement[2]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"targets": data().targets[:, 0]}, ValueError, "shaped as the outputs"),
        ({"targets": data().targets[:1]}, ValueError, "shaped as the outputs"),
        ({"model": nn.Sequential(network(8), nn.Dropout())}, ValueError, r"1 \(Dropout\) is in training mode"),
        ({"model": network(8).requires_grad_(False)}, ValueError, "nothing to train"),
        ({"scale": 0.0}, ValueError, "positive scale"),
        ({"times": []}, ValueError, "times from 0"),
        ({"times": [-1, 2]}, ValueError, "times from 0"),
        ({"step": 1e200, "times": [1]}, NonFiniteError, "diverged at step 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_training_that_is_none_is_refused(change: dict[str, Any], error: type[Exception], match: str) -> None:
    """Targets of another shape would be spread over samples, and the last numbers of a run that diverged stand as predictions."""
    given = data()
    plain = {"model": network(8), "x": given.train, "targets": given.targets, "test": given.test}
    with pytest.raises(error, match=match):
        train_centred(**{**plain, "scale": 1.0, "step": 0.02, "times": [2], **change})


@pytest.mark.parametrize(("inputs", "scale"), [(1.0, 1e-12), (1e12, 1e-3), (None, 1.0)])
def test_a_diagonal_network_beyond_float64_or_of_deficient_rank_says_so(inputs: float | None, scale: float) -> None:
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    x, y = (x[[0, 1, 2, 2]], x[:, 0]) if inputs is None else (x, inputs * x[:, 0])
    with pytest.raises(RuntimeError, match="deficient rank, or the scale"):
        diagonal_network_limit(x, y, scale)
    with pytest.raises(ValueError, match="positive and finite"):
        diagonal_network_limit(x, y, float("inf"))


def test_output_scale_makes_training_lazy() -> None:
    """Parameters move by 1 / scale (Chizat et al. 2019), and the kernel less and less."""
    nets = [(64, scale, 0, network(64)) for scale in (8.0, 16.0, 32.0)]
    found = lazy_or_rich(nets, data(), steps=200)
    assert found.slope("movement", "scale") == pytest.approx(-1, abs=0.1)
    assert found.slope("kernel_change", "scale") == pytest.approx(-1, abs=0.15)
    assert found.slope("departure", "scale") < -0.8
    with pytest.raises(ValueError, match="two values"):
        found.slope("movement", "width")


def test_width_makes_training_lazy() -> None:
    """The distance from the linearised network falls at least by the root of the width, and so does the kernel's change."""
    found = lazy_in_width((32, 64, 256), seeds=[0])
    assert -1.1 < found.slope("departure", "width") < -0.4
    assert -1.1 < found.slope("kernel_change", "width") < -0.4
    assert float(found.table["train_error"].max()) < 1e-6


def sparse_problem() -> tuple[Tensor, Tensor, Tensor]:
    """40 samples in 100 dimensions of a map of norm one with three entries."""
    x = torch.randn(40, 100, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    beta = torch.zeros(100, dtype=DOUBLE)
    beta[:3] = torch.tensor([1.0, -1.0, 1.0]) / 3**0.5
    return x, x @ beta, beta


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0])
def test_the_limit_of_a_diagonal_network_is_that_of_its_flow(scale: float) -> None:
    x, y, _ = (value.numpy() for value in sparse_problem())

    def flow(_: float, parameters: Any) -> Any:
        u, v = np.split(parameters, 2)
        pull = x.T @ (x @ (u**2 - v**2) - y)
        return np.concatenate([-2 * u * pull, 2 * v * pull])

    end = solve_ivp(flow, (0, 10 / scale), np.full(200, scale), rtol=1e-10, atol=1e-13, method="LSODA").y[:, -1]
    found = diagonal_network_limit(torch.tensor(x), torch.tensor(y), scale).numpy()
    assert np.abs(found - (end[:100] ** 2 - end[100:] ** 2)).max() < 1e-9
    wrong = diagonal_network_limit(torch.tensor(x), torch.tensor(y), 1.3 * scale).numpy()
    assert np.abs(found - wrong).max() > 1e-8


def test_scale_goes_from_sparse_to_kernel() -> None:
    x, y, beta = sparse_problem()
    least = x.T @ torch.linalg.solve(x @ x.T, y)
    risks = [float((diagonal_network_limit(x, y, scale) - beta).square().sum()) for scale in (0.01, 0.1, 1.0, 10.0)]
    assert risks == sorted(risks)
    assert risks[0] < 0.003 and risks[1] < 0.3
    assert risks[-1] == pytest.approx(float((least - beta).square().sum()), rel=1e-4)
    torch.testing.assert_close(diagonal_network_limit(x, y, 30.0), least, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="N <= D"):
        diagonal_network_limit(x.T, torch.ones(100), 1.0)
    with pytest.raises(ValueError, match="must be positive"):
        diagonal_network_limit(x, y, 0.0)


def test_ridge_is_the_posterior_of_a_gaussian_process() -> None:
    rows = torch.randn(9, 20, dtype=DOUBLE)
    whole, y = rows @ rows.T, torch.randn(6, 2, dtype=DOUBLE)
    kernel, cross, own = whole[:6, :6], whole[6:, :6], whole[6:, 6:]
    found = kernel_ridge(kernel, y, cross, 0.3, own.diagonal())
    system = torch.linalg.inv(kernel + 0.3 * torch.eye(6, dtype=DOUBLE))
    torch.testing.assert_close(found.mean, cross @ system @ y)
    assert found.variance is not None
    torch.testing.assert_close(found.variance, (own - cross @ system @ cross.T).diagonal())
    ends = gradient_descent(kernel, y, torch.tensor([1e7]), None, cross).test[-1]
    torch.testing.assert_close(kernel_ridge(kernel, y, cross).mean, ends, rtol=1e-5, atol=1e-6)
    assert kernel_ridge(kernel, y, cross).variance is None
    with pytest.raises(NotPositiveError, match="eigenvalue -"):
        kernel_ridge(kernel - 2 * torch.linalg.eigvalsh(kernel)[-1] * torch.eye(6), y, cross)
    with pytest.raises(ValueError, match="targets has shape"):
        kernel_ridge(kernel, y[:, 0], cross)


def test_the_study_runs(tmp_path: Path) -> None:
    study = LazyOrRichStudy(widths=(8, 16), scales=(1.0, 4.0), seeds=(0, 1), samples=10, test_samples=12, steps=40)
    run = study.run(tmp_path / "run")
    found = run.result("lazy_or_rich")
    assert isinstance(found, LazyOrRich)
    assert len(found.table) == 2 * 3
    assert "over the width" in found.summary() and "over the scale" in found.summary()
    assert len(found.specification().panels) == 4
    assert set(run.result("tangent_motion").table["group"]) == {"all parameters", "maps.0", "maps.1", "maps.2"}
