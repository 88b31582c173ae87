"""P203: the principles of deep learning theory."""

from __future__ import annotations

import torch

from ....probe.runs.run import Run
from ...infinite_width.effective_theory import (
    critical_weight_variance,
    deep_linear_kurtosis,
    kernel_by_depth,
    susceptibilities,
)
from ...infinite_width.nonlinearities import Erf, ReLU
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_most, equals

SIZES = ((8, 3), (16, 4), (16, 6))
DRAWS = 60_000

RELU = "critical weight variance of ReLU"
ERF = "critical weight variance of erf, over pi / 4"
PARALLEL = "largest distance of a susceptibility of critical ReLU from 1"
FALL = "K_l of critical erf times 2 l, at depth 2000"
KURTOSIS = "largest relative difference of a deep linear network's kurtosis from (1 + 2/n)^(L - 1)"
BY_DEPTH = Axes("kernel of critical networks", "layer", "K", x_log=True, y_log=True)


class Criticality(Claim, kind="p203-criticality"):
    """Critical initialisations, and the kurtosis of deep linear networks."""

    paper, scope = "P203", Scope.IDENTITY
    statement = (
        "ReLU is critical at the weight variance 2 and keeps its kernel; odd saturating functions are at 1 / f'(0)^2 and lose it "
        "as 1 / (2 l); the kurtosis of a deep linear network departs from a Gaussian's by its depth over its width."
    )
    measurements = (
        equals(RELU, 2.0, 1e-9, "variance"),
        equals(ERF, 1.0, 1e-5, "ratio"),
        at_most(PARALLEL, 1e-9, "susceptibility"),
        equals(FALL, 1.0, 0.02, "ratio"),
        at_most(KURTOSIS, 0.1),
    )
    panels = (BY_DEPTH,)
    note = "Fluctuations of the tangent kernel at finite width are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        erf = critical_weight_variance(Erf())
        both = [abs(value - 1) for variance in (0.3, 2.0) for value in susceptibilities(ReLU(), variance, 2.0)]
        kernel = kernel_by_depth(Erf(), 0.5 + 0.1 * seed, torch.pi / 4, 2000)
        generator = torch.Generator().manual_seed(seed)
        worst = 0.0
        for width, layers in SIZES:
            measured = _kurtosis(width, layers, generator)
            worst = max(worst, abs(measured / deep_linear_kurtosis(width, layers) - 1))
        found = Findings(
            {
                RELU: critical_weight_variance(ReLU(), 1.0),
                ERF: erf / (torch.pi / 4),
                PARALLEL: max(both),
                FALL: float(kernel[-1]) * 2 * len(kernel),
                KURTOSIS: worst,
            }
        )
        layers_seen = list(range(1, 2001, 50))
        found.curves[BY_DEPTH.title, "erf"] = (layers_seen, [float(kernel[layer - 1]) for layer in layers_seen])
        found.curves[BY_DEPTH.title, "1 / (2 l)"] = (layers_seen, [1 / (2 * layer) for layer in layers_seen])
        return found


def _kurtosis(width: int, layers: int, generator: torch.Generator) -> float:
    """E[z^4] / (3 E[z^2]^2) of one coordinate, over drawn networks; z is Gaussian given the layer before, whose norm is drawn.

    The product of Gaussian matrices with a vector has the norm of independent chi-squared factors, one a layer.
    """
    hidden = torch.ones(DRAWS, dtype=torch.float64)
    for _ in range(layers - 1):
        hidden = hidden * torch.randn(DRAWS, width, generator=generator, dtype=torch.float64).square().mean(1)
    return float(hidden.square().mean() / hidden.mean().square())
