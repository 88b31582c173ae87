"""P245: a deep recurrent network of width 4 fits a map of the past at any length, and one of width 1 does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import Self

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...cells.narrow_networks import NarrowNetwork, WideRecurrence, monotone_floor, narrow_network, running_maximum
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

LENGTHS, SEQUENCES, LAST_INPUTS = (8, 16, 32, 64), 16, 101
DECAYS = (0.0, 0.1, 0.2, 0.3, 0.4)
LEAST, MOST = -1.0, 2.0  # of 2 x_t - x_{t-1}

WIDTH = "width, for inputs and outputs of one dimension"
SAME = "the deep network against the wide one, lengths 8 to 64"
FITS = "error at length {}, beside the targets' deviation"
FALLS = "error of the deepest network over that of the shallowest"
FLOOR = "least error of any network of width 1, beside the targets' deviation"
AGAINST = "random networks of width 1: movement against their direction"
RUNNING = "width 2: largest input so far"
BY_DEPTH = Axes("error beside the targets' deviation", "layers", "ratio", x_log=True, y_log=True)


@dataclass(frozen=True)
class MinimalWidth(Claim, kind="p245-minimal-width"):
    """Networks with weights set by hand for y_t = sin(pi (2 x_t - x_{t-1})), x in [0, 1]."""

    units: tuple[int, ...] = (4, 8, 16, 32)
    """The wide networks that are rewritten have this many rectified units."""

    paper, scope = "P245", Scope.CONSTRUCTION
    statement = (
        "A deep ReLU RNN of width d_x + d_y + 2 = 4 computes what a wide recurrence does and fits a map of the past with the "
        "same weights at length 8 and 64, better the deeper it is; width 1 leaves a floor at any depth."
    )
    measurements = (
        equals(WIDTH, 4, unit="units"),
        at_most(SAME, 1e-9),
        *(at_most(FITS.format(length), 0.05, "ratio") for length in LENGTHS),
        at_most(FALLS, 0.1, "ratio"),
        at_least(FLOOR, 0.5, "ratio"),
        at_most(AGAINST, 1e-12, "ratio"),
        at_most(RUNNING, 1e-12),
    )
    panels = (BY_DEPTH,)
    note = (
        "That max(d_x + 1, d_y) = 2 units are enough in the mean is seen for the largest input so far alone; other activations "
        "and networks of two directions are not measured."
    )

    def small(self) -> Self:
        return replace(self, units=(4, 32))

    @torch.no_grad()
    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        inputs = {length: torch.special.ndtr(draw(SEQUENCES, length, 1)) for length in LENGTHS}
        networks = [narrow_network(_wide(units)) for units in self.units]
        errors = {length: [_error(network(x), _target(x)) for network in networks] for length, x in inputs.items()}
        wide, deep = _wide(self.units[-1]), networks[-1]
        found.numbers[WIDTH] = float(max(network.width for network in networks))
        found.numbers[SAME] = max(difference(deep(x), wide(x)) for x in inputs.values())
        found.numbers |= {FITS.format(length): values[-1] for length, values in errors.items()}
        found.numbers[FALLS] = max(values[-1] / values[0] for values in errors.values())
        found.numbers[FLOOR] = _floor(inputs[LENGTHS[-1]])
        found.numbers[AGAINST] = max(_against(inputs[LENGTHS[0]][0], draw(4, 4).tolist()) for _ in range(20))
        x = inputs[LENGTHS[-1]]
        found.numbers[RUNNING] = difference(running_maximum()(x), x.cummax(1).values)
        for length, values in errors.items():
            found.curves[BY_DEPTH.title, f"length {length}"] = ([network.depth for network in networks], values)
        return found


def _target(x: Tensor) -> Tensor:
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    return (pi * (2 * x - before)).sin()


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt() / truth.std())


def _wide(units: int) -> WideRecurrence:
    """The target's sine in straight pieces between knots, of sums of the past that together are 2 x_t - x_{t-1}, but for x_{t-5}
    and what is older, which they hold little of.
    """
    decays = torch.tensor(DECAYS, dtype=torch.float64)
    lags = decays ** torch.arange(len(decays), dtype=torch.float64)[:, None]
    wanted = torch.zeros(len(decays), dtype=torch.float64)
    wanted[0], wanted[1] = 2, -1
    knots = torch.linspace(LEAST, MOST, units + 1, dtype=torch.float64)
    slopes = (pi * knots).sin().diff() / knots.diff()
    bends = slopes.diff(prepend=slopes.new_zeros(1))
    weights = torch.linalg.solve(lags, wanted).expand(units, -1)
    one = torch.ones(len(decays), 1, dtype=torch.float64)
    return WideRecurrence(decays, one, weights, -knots[:-1], bends[None], (pi * knots[:1]).sin())


def _floor(x: Tensor) -> float:
    """Of pasts that these inputs [B, T, 1] are."""
    last = torch.linspace(0, 1, LAST_INPUTS, dtype=torch.float64)
    targets = (pi * (2 * last - x[:, -1])).sin()
    return monotone_floor(targets) / float(targets.std())


def _against(past: Tensor, weights: list[list[float]]) -> float:
    """How far the output of a chain of units goes back, beside how far it goes on, while the last input grows. Each row of
    weights is a layer's W, R and bias, of which W may have any sign.
    """
    network = NarrowNetwork(1, 1, len(weights), 1)
    for (weight, recurrent, bias, _), (own, of_state, offset, _) in zip(network.layers.all_weights, weights, strict=True):
        weight.fill_(own)
        recurrent.fill_(of_state / 4)
        bias.fill_(offset)
    network.read_out.weight.fill_(1)
    last = torch.linspace(0, 1, LAST_INPUTS, dtype=torch.float64)[:, None, None]
    steps = network(torch.cat([past.expand(LAST_INPUTS, -1, -1), last], 1))[:, -1, 0].diff()
    forth, back = sorted((float(steps.clamp_min(0).sum()), float((-steps).clamp_min(0).sum())), reverse=True)
    return back / forth if forth > 0 else 0.0
