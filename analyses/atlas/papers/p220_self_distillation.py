"""P220: ground-truth targets dampen the regularisation imposed by self-distillation."""

from __future__ import annotations

import numpy as np

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...kernel_regression.ridge import kernel_ridge
from ...kernel_regression.self_distillation import best_second_weight, self_distillation, self_distillation_limit
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

TRAIN, HELD_OUT, FEATURES, RIDGE, STEPS = 40, 60, 4, 0.1, 12

REFITTED = "the closed form against fits made one after another"
LIMIT = "the chain after 2000 fits against kernel ridge with the amplified penalty"
SHRINKS = "share of the targets left by the fits, targets mixed in less alone"
BEST = "held-out error of the best weight of the second fit less the least of a grid's"
BY_FIT = Axes("what is left of the targets", "fit", "share of their norm", y_log=True)


class SelfDistillation(Claim, kind="p220-self-distillation"):
    """Kernel ridge with the tangent kernel of a ReLU network, and labels that are noisy."""

    paper, scope = "P220", Scope.IDENTITY
    statement = (
        "Fits of kernel ridge to their own predictions shrink every mode until nothing is left; with the targets mixed in, they "
        "end at kernel ridge with the penalty over the targets' weight, and the best weight has a closed form."
    )
    measurements = (
        at_most(REFITTED, 1e-10),
        at_most(LIMIT, 1e-10),
        at_least(SHRINKS, 0.1),
        at_most(BEST, 1e-9, "squared error"),
    )
    panels = (BY_FIT,)
    note = "The same chain for finite networks is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x, held = draw(TRAIN, FEATURES), draw(HELD_OUT, FEATURES)
        y, truth = x[:, :1].sin() + 0.5 * draw(TRAIN, 1), held[:, :1].sin()
        network = DenseNetwork(2, bias_variance=0.1)
        kernel, cross = infinite_width_kernels(network, x).ntk, infinite_width_kernels(network, held, x).ntk
        found, apart = Findings(), 0.0
        for weight in (0.0, 0.4):
            chain, targets = self_distillation(kernel, y, RIDGE, weight, STEPS, cross), y
            for fit in range(STEPS):
                apart = max(apart, difference(chain.test[fit], kernel_ridge(kernel, targets, cross, RIDGE).mean))
                targets = weight * y + (1 - weight) * kernel_ridge(kernel, targets, kernel, RIDGE).mean
            left = (chain.train.norm(dim=(1, 2)) / y.norm()).tolist()
            found.curves[BY_FIT.title, f"weight {weight:g}"] = (range(1, STEPS + 1), left)
        long = self_distillation(kernel, y, RIDGE, 0.4, 2000, cross).test[-1]
        limit = self_distillation_limit(kernel, y, RIDGE, 0.4, cross)
        left = [float(self_distillation(kernel, y, RIDGE, weight, 200).train[-1].norm() / y.norm()) for weight in (0.4, 0.0)]
        first, second = self_distillation(kernel, y, RIDGE, 0.0, 2, cross).test

        def error(weight: float) -> float:
            mixed = self_distillation(kernel, y, RIDGE, weight, 2, cross).test[-1]
            return float((mixed - truth).square().mean())

        best = error(best_second_weight(first, second, truth)) - min(error(float(w)) for w in np.linspace(0, 1, 50))
        found.numbers = {REFITTED: apart, LIMIT: difference(long, limit), SHRINKS: left[0] - left[1], BEST: best}
        return found
