"""P257: a proof of learning rate transfer under muP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....kernels.arguments import NonFiniteError
from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...lazy.parametrised import AbcNetwork, descend, one_step_optimum
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_most, equals

SAMPLES, FEATURES, LAYERS, STEPS = 32, 8, 3, 3

LIMIT = "muP: best rate of one step of a wide network against the limit, logarithms apart"
MAXIMAL = "muP: exponent of the width in the best rate of three steps"
STANDARD = "standard: exponent of the width in the best rate of three steps"
BEST = Axes("best learning rate of three steps", "width", "learning rate", x_log=True, y_log=True)


@dataclass(frozen=True)
class RateTransfer(Claim, kind="p257-linear-networks"):
    """Linear networks with three trained layers between frozen ones."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Networks have these numbers of units a layer."""
    wide: int = 1024
    """The best rate of one step is compared with its limit at this width."""
    draws: int = 4
    """At each width the loss is the mean over this many networks."""

    paper, scope = "P257", Scope.IDENTITY
    statement = (
        "In the maximal update parametrisation the best learning rate of a deep linear network tends to a constant as the width "
        "grows, which for one step is known in closed form; in the standard one it falls as one over the width."
    )
    measurements = (
        at_most(LIMIT, 0.15, "e-folds"),
        equals(MAXIMAL, 0.0, 0.15, "exponent"),
        equals(STANDARD, -1.0, 0.2, "exponent"),
    )
    panels = (BEST,)
    note = "That the optimum converges by the root of the width is not measured, nor the tangent parametrisation."

    def small(self) -> Self:
        return replace(self, widths=(64, 384), wide=512)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        x = draw(SAMPLES, FEATURES)
        y = x @ draw(FEATURES, 1) / FEATURES**0.5 + 0.1 * draw(SAMPLES, 1)
        limit = one_step_optimum(x, y, LAYERS)
        one = self._best("mup", self.wide, 1, x, y, limit, seed)
        found.numbers[LIMIT] = abs(float(np.log(one / limit)))
        for what, name in ((MAXIMAL, "mup"), (STANDARD, "standard")):
            centres = [limit if name == "mup" else limit / width for width in self.widths]
            best = [self._best(name, width, STEPS, x, y, at, seed) for width, at in zip(self.widths, centres, strict=True)]
            found.numbers[what] = exponent(self.widths, best)
            found.curves[BEST.title, name] = (self.widths, best)
        return found

    def _best(self, name: str, width: int, steps: int, x: Tensor, y: Tensor, centre: float, seed: int) -> float:
        """The vertex of a parabola through the least mean loss on a grid of rates, by quarters of octaves, and its neighbours."""
        rates = centre * 2 ** (np.arange(-14, 9) / 4)
        losses = []
        for rate in rates:
            ends = []
            for index in range(self.draws):
                generator = torch.Generator().manual_seed(self.draws * seed + index)
                network = AbcNetwork(FEATURES, width, LAYERS + 1, name, generator).train_hidden_alone()
                try:
                    ends.append(float(descend(network, x, y, rate, [steps])[0]))
                except NonFiniteError:
                    ends.append(float("inf"))
            losses.append(float(np.mean(ends)))
        place = int(np.clip(np.argmin(losses), 1, len(rates) - 2))
        curve, slope, _ = np.polyfit(np.log(rates[place - 1 : place + 2]), losses[place - 1 : place + 2], 2)
        return float(np.exp(-slope / (2 * curve)))
