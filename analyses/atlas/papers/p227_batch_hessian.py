"""P227: learning rates as a function of batch size, by random matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.nonlinearities import Erf
from ...lazy.step_sizes import largest_initial_rate
from ...ntk.empirical_ntk import empirical_ntk
from ...operators.curvature import GaussNewton
from ...operators.density import spectral_density
from ...operators.random_matrix import batch_noise_edge, batch_outlier, covariance_outlier
from ...studies.findings import Axes, Findings
from ..agreement import Draw, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, NOISE, OUTLIER, BATCHES = 600, 0.05, 2.0, (1, 4, 16, 64)
SAMPLES, FEATURES, WIDTH, DRAWN = 256, 6, 12, (4, 8, 16, 32, 64)

COVARIANCE = "largest eigenvalue of a spiked sample covariance against the formula, the largest difference"
FORMULA = "largest eigenvalue of a spiked random matrix against the formula, the largest difference"
JENSEN = "least mean eigenvalue of batches over that of all samples"
FIT = "share of the variance that a + c / B explains, of the largest eigenvalue of batches of B"
SLOPE = "c, over the largest eigenvalue of all samples"
MOMENTS = "first two moments by stochastic Lanczos quadrature against the matrix, in standard errors"
DUAL = "largest eigenvalue of the Gauss-Newton matrix against that of the tangent kernel"
BY_BATCH = Axes("largest eigenvalue of a batch's Gauss-Newton matrix", "batch", "over that of all samples", x_log=True)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean() / 2


def largest(kernel: Tensor) -> float:
    """The largest eigenvalue of the Gauss-Newton matrix of these samples: that of their tangent kernel over their number."""
    return float(torch.linalg.eigvalsh(kernel)[-1]) / len(kernel)


def standard_errors(estimate: tuple[float, float], exact: float) -> float:
    return abs(estimate[0] - exact) / estimate[1]


class BatchHessian(Claim, kind="p227-batch"):
    """Wigner matrices with one outlier, and the Gauss-Newton matrix of a small network on batches of its data."""

    paper, scope = "P227", Scope.IDENTITY
    statement = (
        "A batch's curvature has a larger top than that of all samples, by noise over the batch size as the spiked model says, "
        "so that the largest stable rate grows with the batch and then saturates."
    )
    measurements = (
        at_most(FORMULA, 0.05),
        at_most(COVARIANCE, 0.15),
        at_least(JENSEN, 1.0, "ratio"),
        at_least(FIT, 0.95, "share"),
        at_least(SLOPE, 0.1, "ratio"),
        at_most(DUAL, 1e-10),
        at_most(MOMENTS, 4.0, "standard errors"),
    )
    panels = (BY_BATCH,)
    note = "The scaling of Adam by the root of the batch is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator, found = seeded(seed), torch.Generator().manual_seed(seed), Findings()
        found.numbers[FORMULA] = max(self._spiked(draw(SIZE, SIZE), batch) for batch in BATCHES)
        found.numbers[COVARIANCE] = max(self._covariance(draw(2 * SIZE, size)) for size in (SIZE // 4, SIZE // 2, SIZE))
        x, y = problem(draw)
        model = network(generator)
        whole, kernel = GaussNewton(model, squared, [(x, y)]), empirical_ntk(model, x)
        dense = whole.matmat(torch.eye(whole.shape[0], dtype=torch.float64))
        full = float(torch.linalg.eigvalsh(dense)[-1])
        found.numbers[DUAL] = abs(largest(kernel) / full - 1)
        means = []
        for batch in DRAWN:
            drawn = (torch.randperm(SAMPLES, generator=generator)[:batch] for _ in range(4096 // batch))
            means.append(float(np.mean([largest(kernel[rows][:, rows]) for rows in drawn])) / full)
        slope, rest = np.polyfit(1 / np.array(DRAWN), means, 1)
        errors = np.array(means) - slope / np.array(DRAWN) - rest
        density = spectral_density(whole, 40, 20, generator)
        values = torch.linalg.eigvalsh(dense)
        moments = [(density.trace_of(power), float(power(values).sum())) for power in (torch.abs, torch.square)]
        found.numbers |= {
            JENSEN: min(means),
            FIT: float(1 - errors.var() / np.var(means)),
            SLOPE: float(slope),
            MOMENTS: max(standard_errors(estimate, exact) for estimate, exact in moments),
        }
        found.curves[BY_BATCH.title, "batches"] = (DRAWN, means)
        return found

    def _spiked(self, drawn: Tensor, batch: int) -> float:
        wigner = NOISE / batch**0.5 * (drawn + drawn.T) / 2**0.5
        wigner[0, 0] += OUTLIER
        top = float(torch.linalg.eigvalsh(wigner)[-1])
        expected = batch_outlier(OUTLIER, NOISE, SIZE, batch)
        assert expected >= batch_noise_edge(NOISE, SIZE, batch)
        return abs(top / expected - 1)

    def _covariance(self, drawn: Tensor) -> float:
        """Independent gradients, of which one direction has the variance 6."""
        samples, dimensions = drawn.shape
        drawn[:, 0] *= 6**0.5
        top = float(torch.linalg.eigvalsh(drawn.T @ drawn / samples)[-1])
        return abs(top / covariance_outlier(6.0, dimensions / samples) - 1)


GROWTH = "exponent of the batch in the largest stable rate, batches of 1 to 16"
SATURATION = "the same, batches of 64 to 256"
BY_RATE = Axes("largest stable rate of stochastic descent", "batch", "learning rate", x_log=True, y_log=True)


@dataclass(frozen=True)
class StableRates(Claim, kind="p227-stable-rate"):
    """The small network learns by stochastic descent, with batches of several sizes."""

    seeds: tuple[int, ...] = tuple(range(9, 17))
    """These seeds are others than 0 to 8, on which the settings were tried out."""
    batches: tuple[int, ...] = (1, 4, 16, 64, SAMPLES)
    """A step sees so many of the samples, drawn anew."""
    steps: int = 100
    """A rate is stable if after this many steps the loss on all samples is below that at the start."""
    runs: int = 5
    """The batches are drawn this often, and in most of these runs the rate has to be stable."""
    halvings: int = 8
    """The interval of rates is halved this often, on a logarithmic scale."""

    paper, scope = "P227", Scope.TRAINED
    statement = "The largest learning rate at which stochastic descent is stable grows with the batch, and then saturates."
    measurements = (at_least(GROWTH, 0.3, "exponent"), at_most(SATURATION, 0.2, "exponent"))
    panels = (BY_RATE,)
    note = "Rates at which training becomes unstable only after these steps count as stable."

    def small(self) -> Self:
        return replace(self, batches=(1, 16, 64, SAMPLES), steps=50, runs=1)

    def experiment(self, seed: int, run: Run) -> Findings:
        stable = [partial(self._stable, batch=batch, seed=seed) for batch in self.batches]
        rates = [largest_initial_rate(succeeds, 0.002, 100.0, self.halvings) for succeeds in stable]
        few = sum(batch <= 16 for batch in self.batches)
        found = Findings(
            {
                GROWTH: exponent(self.batches[:few], rates[:few]),
                SATURATION: exponent(self.batches[-2:], rates[-2:]),
            }
        )
        found.curves[BY_RATE.title, "stochastic descent"] = (self.batches, rates)
        return found

    def _stable(self, rate: float, *, batch: int, seed: int) -> bool:
        generators = (torch.Generator().manual_seed(self.runs * seed + index) for index in range(self.runs))
        return 2 * sum(self._learns(rate, batch, seed, generator) for generator in generators) > self.runs

    def _learns(self, rate: float, batch: int, seed: int, generator: torch.Generator) -> bool:
        (x, y), model = problem(seeded(seed)), network(torch.Generator().manual_seed(seed))
        optimizer, start = torch.optim.SGD(model.parameters(), lr=rate), loss_of(model, x, y)
        for _ in range(self.steps):
            rows = drawn(batch, generator)
            optimizer.zero_grad()
            squared(model(x[rows]), y[rows]).backward()
            optimizer.step()
        return loss_of(model, x, y) < start


def problem(draw: Draw) -> tuple[Tensor, Tensor]:
    """Samples [N, d] and targets [N, 1]. draw: see `seeded`."""
    x = draw(SAMPLES, FEATURES)
    return x, (x[:, :1] * x[:, 1:2]).sign()


def network(generator: torch.Generator) -> nn.Module:
    return DenseNetwork(1, Erf(), 1.5).finite((FEATURES,), WIDTH, generator)


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(squared(model(x), y))


def drawn(batch: int, generator: torch.Generator) -> Tensor:
    """Rows of a batch, no row twice."""
    return torch.randperm(SAMPLES, generator=generator)[:batch]
