"""P262: reconstruction attacks by the tangent kernel."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch
from scipy.stats import spearmanr
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
from ..claim import Claim, fresh_seeds
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
    note = "Gradients are those at the start."

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


MANY, SOUGHT, HELD_OUT = 20, 40, 200

RANK = "rank correlation of a point's distance from the nearest candidate with its dual weight, widest network"
LAZY = "distance of 20 training points from the nearest candidate, lazy limit, over that of random points"
WIDER = "the same distance after training, widest over narrowest network"
STILL = "the change of the tangent kernel, widest over narrowest network"
BY_WEIGHT = Axes("which points are found", "dual weight of a training point", "distance from the nearest candidate", y_log=True)


@dataclass(frozen=True)
class Outliers(Claim, kind="p262-outliers"):
    """Networks with one hidden layer learn 20 points, which are sought with 40 candidates."""

    seeds: tuple[int, ...] = fresh_seeds(4)
    """These seeds are others than 0 to 2, on which the number of steps was tried out."""
    widths: tuple[int, ...] = (64, 256)
    """Networks have these numbers of hidden units."""
    steps: int = 600
    """The search takes this many steps of Adam."""

    paper, scope = "P262", Scope.TRAINED
    statement = (
        "Of 20 training points those are found best that weigh most in the kernel's regression, outliers; all are in the lazy "
        "limit, and more nearly the wider the network and the less its kernel moves."
    )
    measurements = (
        at_most(RANK, -0.2, "rank correlation"),
        at_most(LAZY, 0.1, "ratio"),
        at_most(WIDER, 0.8, "ratio"),
        at_most(STILL, 0.3, "ratio"),
    )
    panels = (BY_WEIGHT,)
    note = (
        "Units are erf: with ReLU units, whose gradients change by jumps from one side of a unit to the other, the search by "
        "slopes found none of the 20 points, in the lazy limit neither (seeds 0 and 1, up to 1024 units)."
    )

    def small(self) -> Self:
        return replace(self, widths=(32, 256), steps=800)

    def experiment(self, seed: int, run: Run) -> Findings:
        (x, y, candidates, _), found = many(seed), Findings()
        distances, changes = [], []
        for width in self.widths:
            model = FAMILY.finite((FEATURES,), width, torch.Generator().manual_seed(seed))
            features, start, kernel = gradient_features(model), flat(model), empirical_ntk(model, x)
            weights = torch.linalg.solve(kernel, y)[:, 0]
            lazy = weights @ features(x).detach()
            learnt(model, x, y, x[:1])
            changes.append(relative_change(empirical_ntk(model, x), kernel))
            after = reconstruct(features, flat(model) - start, candidates, self.steps)
            distances.append(torch.cdist(x, after.points).min(1).values)
        exact = reconstruct(features, lazy, candidates, self.steps)
        found.numbers = {
            RANK: float(spearmanr(distances[-1], weights.abs()).statistic),
            LAZY: nearest(x, exact.points) / nearest(x, candidates),
            WIDER: float(distances[-1].mean() / distances[0].mean()),
            STILL: changes[-1] / changes[0],
        }
        order = weights.abs().argsort()
        found.curves[BY_WEIGHT.title, "training points"] = (weights.abs()[order].tolist(), distances[-1][order].tolist())
        return found


TAUGHT = "error of a fresh network taught at the candidates that weigh most, over that of one taught at random points"


@dataclass(frozen=True)
class Distillation(Claim, kind="p262-distillation"):
    """A fresh network learns what another has learnt of 20 points, at the candidates that the search finds in their place."""

    seeds: tuple[int, ...] = fresh_seeds(4)
    """These seeds are others than 0 to 2, on which the number of steps was tried out."""
    width: int = 256
    """Both networks have this many hidden units."""
    steps: int = 600
    """The search takes this many steps of Adam."""

    paper, scope = "P262", Scope.TRAINED
    statement = (
        "Points that are found again from the change of the parameters teach a fresh network better than random points do."
    )
    measurements = (at_most(TAUGHT, 0.8, "ratio"),)
    note = (
        "Of 40 candidates the 20 teach whose gradients weigh most; errors are those at held-out points, from the first network."
    )

    def small(self) -> Self:
        return replace(self, steps=500)

    def experiment(self, seed: int, run: Run) -> Findings:
        x, y, candidates, held_out = many(seed)
        model = FAMILY.finite((FEATURES,), self.width, torch.Generator().manual_seed(seed))
        features, start = gradient_features(model), flat(model)
        told = learnt(model, x, y, held_out)
        after = reconstruct(features, flat(model) - start, candidates, self.steps)
        heaviest = (after.coefficients.abs() * features(after.points).norm(dim=1)).argsort(descending=True)[:MANY]
        errors = []
        for points in (after.points[heaviest], candidates[:MANY]):
            fresh = FAMILY.finite((FEATURES,), self.width, torch.Generator().manual_seed(seed + 1000))
            said = learnt(fresh, points, moved(model, start, points), held_out)
            errors.append(float((said - told).square().mean()))
        return Findings({TAUGHT: errors[0] / errors[1]})


def many(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training points [20, d] and their targets [20, 1], candidates [40, d] and held-out points [200, d]."""
    draw = seeded(seed)
    return draw(MANY, FEATURES), draw(MANY, 1).sign() * 0.5, draw(SOUGHT, FEATURES), draw(HELD_OUT, FEATURES)


def learnt(model: nn.Module, x: Tensor, y: Tensor, held_out: Tensor) -> Tensor:
    """Train in place on what is learnt beyond the start, f - f_0, and give that at held-out points [M, 1]."""
    step = 0.5 * largest_stable_step(empirical_ntk(model, x))
    return train_centred(model, x, y, held_out, scale=1.0, step=step, times=[1000]).test[-1]


def moved(model: nn.Module, start: Tensor, points: Tensor) -> Tensor:
    """What a model says at points beyond what it said with the parameters `start`."""
    before = deepcopy(model)
    nn.utils.vector_to_parameters(start, before.parameters())
    with torch.no_grad():
        return cast(Tensor, model(points) - before(points))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def nearest(x: Tensor, candidates: Tensor) -> float:
    """The mean distance of points from the nearest candidate."""
    return float(np.mean(torch.cdist(x, candidates).min(1).values.tolist()))
