"""P211: scale mixtures of neural network Gaussian processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from scipy import stats

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...kernel_regression.ridge import kernel_ridge
from ...kernel_regression.student_process import inverse_gamma_scales, student_process
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

FEATURES, SHAPE, RATE = 4, 1.5, 2.0
FAMILY = DenseNetwork(1, bias_variance=0.2)
CRITICAL = 1.63  # of sqrt(n) times the distance of distribution functions, which 1 sample in 100 exceeds (Kolmogorov)

STUDENT = "distance of the networks' outputs from Student's t, sqrt(n) sup"
GAUSSIAN = "the same from the Gaussian of equal variance"
MIXED = "posterior by the formula against the mixture of Gaussian posteriors over scales"
TAILS = Axes("outputs of drawn networks", "squared quantile of a Gaussian", "quantile in units of the quartile", y_log=True)


@dataclass(frozen=True)
class ScaleMixture(Claim, kind="p211-student"):
    """Networks are drawn whose last layer has a random variance."""

    draws: int = 4000
    """Of these many networks the output for one input is taken."""
    width: int = 256
    """Networks have these many hidden units."""

    paper, scope = "P211", Scope.IDENTITY
    statement = (
        "A wide network whose last layer has an inverse-gamma variance is Student's t process, and given data its spread follows "
        "how well the data fit."
    )
    measurements = (
        at_most(STUDENT, CRITICAL, "distance"),
        at_least(GAUSSIAN, 2 * CRITICAL, "distance"),
        at_most(MIXED, 1e-6),
    )
    panels = (TAILS,)
    note = "Only the inverse-gamma prior, whose process is known in closed form, is measured."

    def small(self) -> Self:
        return replace(self, width=128)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, draw = torch.Generator().manual_seed(seed), seeded(seed)
        x, y, test = draw(6, FEATURES), 2 * draw(6, 1), draw(3, FEATURES)
        scales = inverse_gamma_scales(SHAPE, RATE, self.draws, generator)
        with torch.no_grad():
            drawn = [float(FAMILY.finite((FEATURES,), self.width, generator)(x[:1])) for _ in range(self.draws)]
        outputs = np.array(drawn) * scales.sqrt().numpy()
        unit = float(infinite_width_kernels(FAMILY, x[:1]).nngp) ** 0.5
        student = stats.t(2 * SHAPE, scale=unit * (RATE / SHAPE) ** 0.5)
        normal = stats.norm(scale=student.std())
        found = Findings()
        for what, law in ((STUDENT, student), (GAUSSIAN, normal)):
            found.numbers[what] = float(self.draws**0.5 * stats.kstest(outputs, law.cdf).statistic)
        found.numbers[MIXED] = self._mixed(x, y, test)
        levels = np.linspace(0.55, 0.999, 40)
        for name, quantiles in (("networks", np.quantile(np.abs(outputs), 2 * levels - 1)), ("Student's t", student.ppf(levels))):
            found.curves[TAILS.title, name] = (
                (stats.norm.ppf(levels) ** 2).tolist(),
                (quantiles / student.ppf(0.75)).tolist(),
            )
        return found

    def _mixed(self, x: torch.Tensor, y: torch.Tensor, test: torch.Tensor) -> float:
        """Scales on a grid, weighted by the prior and by how likely each makes the targets."""
        kernel, cross = infinite_width_kernels(FAMILY, x).nngp, infinite_width_kernels(FAMILY, test, x).nngp
        own = infinite_width_kernels(FAMILY, test).nngp.diagonal()
        exact = student_process(kernel, y, cross, own, SHAPE, RATE)
        gaussian = kernel_ridge(kernel, y, cross, 0.0, own)
        assert gaussian.variance is not None
        logs = torch.linspace(-12, 12, 20001, dtype=torch.float64)
        misfit = float((y * torch.linalg.solve(kernel, y)).sum())
        weights = (-(SHAPE + len(y) / 2) * logs - (RATE + misfit / 2) * (-logs).exp()).softmax(0)
        mixed = (weights * logs.exp()).sum() * gaussian.variance
        return float(((exact.variance - mixed) / mixed).abs().max() + (exact.location - gaussian.mean).abs().max())
