"""P160: Gompertz linear units."""

from __future__ import annotations

from itertools import pairwise

import torch

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.nonlinearities import GELU, GoLU, Nonlinearity, SiLU
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

INPUTS, WIDTH = 8, 20_000
DEVIATIONS = (0.5, 1.0, 2.0)
UNITS: dict[str, Nonlinearity] = {"GoLU": GoLU(), "swish": SiLU(), "GELU": GELU()}

SLOPE = "slope of GoLU at 0"
VARIANCE = "variance of GoLU of a standard normal input"
ORDER = "least step from GoLU to swish to GELU of the variance, over it"
DRAWN = "variance over the units of a drawn layer against the expectation"
SPREAD = Axes("variance of the output", "standard deviation of the input", "over the input's variance", x_log=True)


class Gompertz(Claim, kind="p160-variance"):
    """Expectations by quadrature beside a drawn layer of 20000 units."""

    paper, scope = "P160", Scope.IDENTITY
    statement = "GoLU has the slope 1/e at 0, and its output varies less than that of swish, which varies less than that of GELU."
    measurements = (
        equals(SLOPE, 0.36787944, 1e-6, "slope"),
        equals(VARIANCE, 0.2526, 1e-4, "variance"),
        at_least(ORDER, 0.01, "share"),
        at_most(DRAWN, 0.06),
    )
    panels = (SPREAD,)
    note = "That less variance trains better is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        found, generator = Findings(), torch.Generator().manual_seed(seed)
        variances = {name: [output_variance(unit, d) for d in DEVIATIONS] for name, unit in UNITS.items()}
        steps = [other / one - 1 for a, b in pairwise(variances.values()) for one, other in zip(a, b, strict=True)]
        apart = 0.0
        for name, unit in UNITS.items():
            layer = DenseNetwork(1, unit, weight_variance=1.0).finite((INPUTS,), WIDTH, generator)
            x = torch.ones(1, INPUTS, dtype=torch.float64)
            with torch.no_grad():
                drawn = float(unit(layer.maps[0](x)).var())  # type: ignore[index,operator]
            apart = max(apart, abs(drawn / output_variance(unit, 1.0) - 1))
            found.curves[SPREAD.title, name] = (
                DEVIATIONS,
                [value / d**2 for value, d in zip(variances[name], DEVIATIONS, strict=True)],
            )
        at = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(GoLU()(at), at)
        found.numbers = {SLOPE: float(slope), VARIANCE: variances["GoLU"][1], ORDER: min(steps), DRAWN: apart}
        return found


def output_variance(unit: Nonlinearity, deviation: float) -> float:
    """The variance of f(u) for u ~ N(0, deviation^2): E[f(u)^2] - E[f(u)]^2, the second of two independent u."""
    a = torch.tensor(deviation**2, dtype=torch.float64)
    return float(unit.variance(a) - unit.covariance(torch.zeros_like(a), a, a))
