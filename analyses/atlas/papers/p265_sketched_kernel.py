"""P265: a framework and benchmark for deep batch active learning, its sketched finite-width tangent kernel."""

from __future__ import annotations

import numpy as np
import torch

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.dense import DenseNetwork
from ...ntk.empirical_ntk import empirical_ntk, tangent_kernel
from ...ntk.measures import relative_change
from ...studies.findings import Axes, Findings
from ..agreement import difference
from ..claim import Claim
from ..measurement import Scope, at_most, equals

FEATURES, SIZES, DRAWS = 5, (64, 256, 1024), 4

PRODUCT = "products of inputs and gradients against the gram matrix of whole Jacobians"
SLOPE = "exponent of the sketch's size in its error"
SKETCHED = Axes("error of the sketch", "numbers a sample", "relative", x_log=True, y_log=True)


class SketchedKernel(Claim, kind="p265-sketch"):
    """The kernel by products a layer, and from random projections."""

    paper, scope = "P265", Scope.IDENTITY
    statement = (
        "The tangent kernel is a sum over layers of products of inputs and gradients, and a random sketch of p numbers a sample "
        "approximates it with an error of p^(-1/2)."
    )
    measurements = (at_most(PRODUCT, 1e-12), equals(SLOPE, -0.5, 0.15, "exponent"))
    panels = (SKETCHED,)
    note = "Places and signs are hashed in place of the paper's products of Gaussians."

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        model = DenseNetwork(depth=2, bias_variance=0.1).finite((FEATURES,), 48, generator)
        x = torch.randn(24, FEATURES, generator=generator, dtype=torch.float64)
        exact = empirical_ntk(model, x, method="jacobian")
        errors = []
        for size in SIZES:
            drawn = [tangent_kernel(model, x, method="projected", features=size, seed=DRAWS * seed + i) for i in range(DRAWS)]
            errors.append(float(np.mean([relative_change(one.values, exact) for one in drawn])))
        found = Findings({PRODUCT: difference(empirical_ntk(model, x), exact)})
        found.numbers[SLOPE] = exponent(SIZES, errors)
        found.curves[SKETCHED.title, "sketch"] = (SIZES, errors)
        return found
