"""P043: the neural tangent kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...infinite_width.nonlinearities import Erf
from ...kernel_regression.gradient_descent import gradient_descent, largest_stable_step
from ...lazy.centred_training import train_centred
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import relative_change
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

FAMILY = DenseNetwork(depth=2, nonlinearity=Erf(), weight_variance=1.5, bias_variance=0.1)
FEATURES = 6

SLOPE = "exponent of the width in the distance to the limit"
NEAR = "distance to the limit at the largest width"
LEAST = "least eigenvalue of the limit over the largest, for distinct points on the sphere"
TO_THE_LIMIT = Axes("distance of the kernel from its limit", "width", "relative", x_log=True, y_log=True)


def on_the_sphere(count: int, seed: int) -> Tensor:
    drawn = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    placed: Tensor = drawn / drawn.norm(dim=1, keepdim=True) * FEATURES**0.5
    return placed


@dataclass(frozen=True)
class Limit(Claim, kind="p043-limit"):
    """Networks of several widths are drawn, and their kernels compared with the formula."""

    widths: tuple[int, ...] = (64, 256, 1024)
    """Networks have these numbers of units a layer."""
    draws: int = 12
    """Of each width this many networks are drawn."""

    paper, scope = "P043", Scope.IDENTITY
    statement = (
        "In the NTK parametrisation the kernel of a drawn network converges to the formula of infinite width, by the root of the "
        "width, and that kernel is positive definite on the sphere."
    )
    measurements = (
        equals(SLOPE, -0.5, 0.15, "exponent"),
        at_most(NEAR, 0.1),
        at_least(LEAST, 1e-5, "ratio"),
    )
    panels = (TO_THE_LIMIT,)

    def experiment(self, seed: int, run: Run) -> Findings:
        x = on_the_sphere(8, seed)
        limit = infinite_width_kernels(FAMILY, x).ntk
        generator, errors = torch.Generator().manual_seed(seed), []
        for width in self.widths:
            drawn = [empirical_ntk(FAMILY.finite((FEATURES,), width, generator), x) for _ in range(self.draws)]
            errors.append(float(np.mean([relative_change(kernel, limit) for kernel in drawn])))
        slope = exponent(self.widths, errors)
        values = torch.linalg.eigvalsh(limit)
        found = Findings({SLOPE: slope, NEAR: errors[-1], LEAST: float(values[0] / values[-1])})
        found.curves[TO_THE_LIMIT.title, "drawn networks"] = (self.widths, errors)
        return found


DRIFT = "exponent of the width in the drift of the kernel by training"
MODES = "largest difference of a mode's residual from its exponential, at the largest width"
BY_MODE = Axes("residuals along the kernel's eigenvectors", "step", "share left")


@dataclass(frozen=True)
class Dynamics(Claim, kind="p043-dynamics"):
    """Networks of several widths are trained by small steps, and their residuals taken along the eigenvectors of the kernel."""

    widths: tuple[int, ...] = (64, 256, 1024)
    """Networks have these numbers of units a layer."""
    steps: int = 150
    """Each network takes this many steps."""

    paper, scope = "P043", Scope.TRAINED
    statement = (
        "The kernel of a wide network moves in training the less the wider it is, at least by the root of the width, and the "
        "residual along an eigenvector of the kernel decays as descent with a fixed kernel has it."
    )
    measurements = (at_most(DRIFT, -0.4, "exponent"), at_most(MODES, 0.05, "share of the residual at the start"))
    panels = (BY_MODE,)

    def small(self) -> Self:
        return replace(self, widths=(64, 512), steps=60)

    def experiment(self, seed: int, run: Run) -> Findings:
        x = on_the_sphere(10, seed)
        y = (x[:, :1] * x[:, 1:2]).sign()
        found, drifts = Findings(), []
        times = sorted({0, *torch.linspace(1, self.steps, 12).long().tolist()})
        for width in self.widths:
            model = FAMILY.finite((FEATURES,), width, torch.Generator().manual_seed(seed))
            before = empirical_ntk(model, x)
            step = 0.2 * largest_stable_step(before)
            run_of = train_centred(model, x, y, x, scale=1.0, step=step, times=times)
            drifts.append(relative_change(empirical_ntk(model, x), before))
            predicted = gradient_descent(before, y, torch.tensor(times).double(), step).train
            vectors = torch.linalg.eigh(before).eigenvectors
            left, expected = ((vectors.T @ (y - values))[..., 0] / y.norm() for values in (run_of.train, predicted))
        found.numbers = {
            DRIFT: exponent(self.widths, drifts),
            MODES: float((left - expected).abs().max()),
        }
        for name, mode in (("first", -1), ("middle", len(x) // 2)):
            found.curves[BY_MODE.title, f"{name} mode"] = (times, left[:, mode].tolist())
            found.curves[BY_MODE.title, f"{name} mode, predicted"] = (times, expected[:, mode].tolist())
        return found
