"""P262: reconstruction attacks by the tangent kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.nonlinearities import Erf
from ...kernel_regression.gradient_descent import largest_stable_step
from ...kernel_regression.reconstruction import gradient_features, reconstruct
from ...lazy.centred_training import train_centred
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import relative_change
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_most

FEATURES, SAMPLES, CANDIDATES = 4, 4, 12
FAMILY = DenseNetwork(1, Erf(), 2.0, 0.1)

EXACT = "distance of the training points from the nearest candidate, lazy limit, over that of random points"
WIDE = "the same after training, widest network"
NARROW = "widest over narrowest network, the distance after training"
KERNEL = "widest over narrowest network, the change of the tangent kernel"
BY_WIDTH = Axes("distance of training points from the nearest candidate", "width", "over that of random points", x_log=True)


@dataclass(frozen=True)
class Reconstructions(Claim, kind="p262-reconstruction"):
    """Networks with one hidden layer learn four points, which are sought from the change of the parameters alone."""

    widths: tuple[int, ...] = (32, 2048)
    """Networks have these numbers of hidden units."""
    steps: int = 1500
    """The search takes this many steps of Adam."""

    paper, scope = "P262", Scope.TRAINED
    statement = (
        "The change of a network's parameters in training gives its training points away, as sums of their gradients: exactly in "
        "the lazy limit, and the better the wider the network is."
    )
    measurements = (
        at_most(EXACT, 0.2, "ratio"),
        at_most(WIDE, 0.4, "ratio"),
        at_most(NARROW, 0.8, "ratio"),
        at_most(KERNEL, 0.3, "ratio"),
    )
    panels = (BY_WIDTH,)
    note = (
        "Gradients are those at the start. Which points are found best, and distillation on the reconstructions, are not "
        "measured."
    )

    def small(self) -> Self:
        return replace(self, widths=(32, 256), steps=400)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        x, y = draw(SAMPLES, FEATURES), draw(SAMPLES, 1).sign() * 0.5
        candidates = draw(CANDIDATES, FEATURES)
        distances, changes = [], []
        for width in self.widths:
            model = FAMILY.finite((FEATURES,), width, torch.Generator().manual_seed(seed))
            features, start, kernel = gradient_features(model), flat(model), empirical_ntk(model, x)
            lazy = torch.linalg.solve(kernel, y)[:, 0] @ features(x).detach()
            train_centred(model, x, y, x, scale=1.0, step=0.5 * largest_stable_step(kernel), times=[400])
            changes.append(relative_change(empirical_ntk(model, x), kernel))
            after = reconstruct(features, flat(model) - start, candidates, self.steps)
            distances.append(nearest(x, after.points) / nearest(x, candidates))
        exact = reconstruct(features, lazy, candidates, self.steps)
        found.numbers = {
            EXACT: nearest(x, exact.points) / nearest(x, candidates),
            WIDE: distances[-1],
            NARROW: distances[-1] / distances[0],
            KERNEL: changes[-1] / changes[0],
        }
        found.curves[BY_WIDTH.title, "after training"] = (self.widths, distances)
        return found


def flat(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def nearest(x: Tensor, candidates: Tensor) -> float:
    """The mean distance of points from the nearest candidate."""
    return float(np.mean(torch.cdist(x, candidates).min(1).values.tolist()))
