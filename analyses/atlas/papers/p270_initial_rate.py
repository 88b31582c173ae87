"""P270: maximal initial learning rates in deep ReLU networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.nonlinearities import ReLU
from ...lazy.parametrised import AbcNetwork, half_squared_error
from ...lazy.step_sizes import hessian_sharpness, largest_initial_rate
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SAMPLES, FEATURES, FIRST, REACHED = 128, 8, 0.01, 0.75

SLOPE = "exponent of depth times width in the largest initial rate"
EXPLAINED = "share of the variance of the logarithm that the power of depth times width explains"
SHARP = "exponent of depth times width in the sharpness at the start"
BY_SIZE = Axes("largest initial rate", "depth times width", "learning rate", x_log=True, y_log=True)


@dataclass(frozen=True)
class InitialRate(Claim, kind="p270-initial-rate"):
    """ReLU networks of several widths and depths in the standard parametrisation, with a slow first layer."""

    seeds: tuple[int, ...] = tuple(range(6, 11))
    """These seeds are others than 0 to 5, on which the settings were tried out and the spread was seen."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Networks have these numbers of units a layer."""
    depths: tuple[int, ...] = (2, 4, 6)
    """Networks have these numbers of hidden layers."""
    steps: int = 120
    """A rate succeeds if after this many steps the network gives the class of three in four samples."""
    halvings: int = 5
    """The interval of rates is halved this often, on a logarithmic scale."""

    paper, scope = "P270", Scope.TRAINED
    statement = (
        "The largest learning rate with which a ReLU network can begin to train is a power of depth times width, where the first "
        "layer learns slowly; the sharpness at the start grows with them."
    )
    measurements = (
        at_most(SLOPE, -0.4, "exponent"),
        at_least(EXPLAINED, 0.7, "share"),
        at_least(SHARP, 0.4, "exponent"),
    )
    panels = (BY_SIZE,)
    note = (
        "Full batches of a synthetic problem with two classes. That the rate is not simply the inverse of the sharpness, as the "
        "paper finds, is not seen at these sizes."
    )

    def small(self) -> Self:
        return replace(self, widths=(32, 128), depths=(2, 5))

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x = draw(SAMPLES, FEATURES)
        y = x[:, :1].sign()
        sizes, rates, sharp = [], [], []
        for width in self.widths:
            for depth in self.depths:
                sizes.append(depth * width)
                succeeds = partial(self._learns, width=width, depth=depth, x=x, y=y, seed=seed)
                rates.append(largest_initial_rate(succeeds, 0.003, 3.0, self.halvings))
                sharp.append(hessian_sharpness(self._network(width, depth, seed), half_squared_error, x, y, tolerance=1e-2))
        x_log, y_log = np.log(sizes), np.log(rates)
        slope, offset = np.polyfit(x_log, y_log, 1)
        found = Findings({SLOPE: float(slope)})
        found.numbers[EXPLAINED] = float(1 - (y_log - slope * x_log - offset).var() / y_log.var())
        found.numbers[SHARP] = exponent(sizes, sharp)
        order = np.argsort(sizes)
        found.curves[BY_SIZE.title, "networks"] = (np.array(sizes)[order].tolist(), np.array(rates)[order].tolist())
        return found

    def _network(self, width: int, depth: int, seed: int) -> AbcNetwork:
        generator = torch.Generator().manual_seed(seed)
        return AbcNetwork(FEATURES, width, depth, "standard", generator, nonlinearity=ReLU(), weight_variance=2.0)

    def _learns(self, rate: float, *, width: int, depth: int, x: Tensor, y: Tensor, seed: int) -> bool:
        network = self._network(width, depth, seed)
        first, *others = network.parameters()
        optimizer = torch.optim.SGD([{"params": [first], "lr": FIRST * rate}, {"params": others, "lr": rate}])
        first_loss = float("inf")
        for step in range(self.steps + 1):
            outputs = network(x)
            loss = half_squared_error(outputs, y)
            first_loss = float(loss.detach()) if step == 0 else first_loss
            if not float(loss.detach()) < 1e3 * first_loss + 1.0:
                return False
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float((outputs.sign() == y).double().mean()) > REACHED
