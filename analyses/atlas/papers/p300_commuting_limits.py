"""P300: commutative width and depth scaling in deep neural networks."""

from __future__ import annotations

import math

import torch

from ....probe.runs.run import Run
from ...infinite_width.dense import ResidualNetwork
from ...infinite_width.network import infinite_width_kernels
from ...studies.findings import Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most
from .p315_width_and_depth import streams

DRAWS = 40

WIDE_FIRST = "difference of the mean size from exp(1/2), width 128 and depth 16"
DEEP_FIRST = "the same, width 16 and depth 128"
FLOW = "largest difference of the recursion at depth 4096 from the depth flow's differential equation"
UNSCALED = "size of the stream without the scaling at depth 16, over that with it"


class EitherOrder(Claim, kind="p300-orders"):
    """Wide networks made deep, and deep ones made wide."""

    paper, scope = "P300", Scope.IDENTITY
    statement = (
        "The neural covariance of residual networks with branches of 1 / sqrt(L) comes to one limit by either order of width and "
        "depth, the solution of a differential equation in depth; without the scaling there is none."
    )
    measurements = (
        at_most(WIDE_FIRST, 0.2, "mean square"),
        at_most(DEEP_FIRST, 0.35, "mean square"),
        at_most(FLOW, 1e-3, "mean square"),
        at_least(UNSCALED, 20.0, "ratio"),
    )
    note = "Other sequences of branch scalings with the same sum of squares are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, limit = torch.Generator().manual_seed(seed), math.exp(0.5)
        wide, deep = (streams(*shape, DRAWS, generator).diagonal(dim1=1, dim2=2).mean() for shape in ((128, 16), (16, 128)))
        x = math.sqrt(2) * torch.eye(2, dtype=torch.float64)
        scaled = infinite_width_kernels(ResidualNetwork(depth=4096, weight_variance=1.0), x).nngp
        unscaled = infinite_width_kernels(ResidualNetwork(depth=16, branch=16.0, weight_variance=1.0), x).nngp
        size, covariance = depth_flow()
        return Findings(
            {
                WIDE_FIRST: abs(float(wide) - limit),
                DEEP_FIRST: abs(float(deep) - limit),
                FLOW: max(abs(float(scaled[0, 0]) - size), abs(float(scaled[0, 1]) - covariance)),
                UNSCALED: float(unscaled[0, 0]) / limit,
            }
        )


def depth_flow(steps: int = 4000) -> tuple[float, float]:
    """The mean square and the covariance at t = 1 for two orthogonal inputs of mean square 1, by the midpoint rule.

    dq/dt = q / 2 and dC/dt = E[phi(z) phi(z')], which for ReLU is q f(c) / 2 with c = C / q, f(c) = (sqrt(1 - c^2) + c (pi -
    acos c)) / pi.
    """

    def slope(q: float, covariance: float) -> tuple[float, float]:
        c = covariance / q
        return q / 2, q / 2 * (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi

    q, covariance, step = 1.0, 0.0, 1 / steps
    for _ in range(steps):
        dq, dc = slope(q, covariance)
        dq, dc = slope(q + step / 2 * dq, covariance + step / 2 * dc)
        q, covariance = q + step * dq, covariance + step * dc
    return q, covariance
