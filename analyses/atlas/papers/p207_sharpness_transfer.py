"""P207: why learning rates transfer: sharpness at every width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....kernels.arguments import NonFiniteError
from ....probe.runs.run import Run
from ...infinite_width.nonlinearities import ReLU, Tanh
from ...lazy.parametrised import AbcNetwork, descend, half_squared_error
from ...lazy.step_sizes import hessian_sharpness, stability_threshold
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals, in_every_seed

SAMPLES, FEATURES, DEPTH = 48, 8, 2

OVERLAP = "muP: spread of the sharpness over widths in the second half, over its mean"
SEPARATE = "NTK parametrisation: the same, over muP's, octaves"
EDGE = "muP: sharpness at the end over 2 / step, the mean over widths"
BY_STEP = Axes("sharpness in training", "step", "largest eigenvalue of the Hessian times step over 2")


@dataclass(frozen=True)
class SharpnessTransfer(Claim, kind="p207-sharpness"):
    """ReLU networks of several widths in two parametrisations, under full-batch descent of one rate."""

    seeds: tuple[int, ...] = tuple(range(8, 13))
    """These seeds are others than 0 to 7, on which the settings were tried out and the spread was seen."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Networks have these numbers of units a layer."""
    steps: int = 400
    """Training takes this many steps."""
    mup_rate: float = 0.4
    """The learning rate of the maximal update parametrisation is this at every width."""
    ntk_rate: float = 0.4
    """The learning rate of the NTK parametrisation is this at every width."""

    paper, scope = "P207", Scope.TRAINED
    statement = (
        "In the maximal update parametrisation the sharpness goes the same way in training at every width, up to 2 over the "
        "step; in the NTK parametrisation its ways part."
    )
    measurements = (
        at_most(OVERLAP, 0.15, "ratio"),
        at_least(SEPARATE, 0.6, "octaves"),
        equals(EDGE, 1.0, 0.1, "ratio"),
    )
    panels = (BY_STEP,)
    note = "Adam is not measured."

    def small(self) -> Self:
        return replace(self, widths=(32, 128), steps=200)

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        x, y = problem(seed)
        times = np.linspace(0, self.steps, 11).astype(int).tolist()
        ratios = {}
        for name, rate in (("mup", self.mup_rate), ("ntk", self.ntk_rate)):
            made = [network(width, DEPTH, name, seed) for width in self.widths]
            curves = np.array([followed(own, rate, x, y, times) for own in made])
            ratios[name] = curves / stability_threshold(rate)
            for width, curve in zip(self.widths, ratios[name], strict=True):
                found.curves[BY_STEP.title, f"{name}, width {width}"] = (times, curve.tolist())
        late = {name: own[:, len(times) // 2 :] for name, own in ratios.items()}
        spreads = {name: float((own.std(0, ddof=1) / own.mean(0)).mean()) for name, own in late.items()}
        found.numbers = {
            OVERLAP: spreads["mup"],
            SEPARATE: float(np.log2(spreads["ntk"] / spreads["mup"])),
            EDGE: float(ratios["mup"][:, -3:].mean()),
        }
        return found


WITHIN = "muP, branches by the root of depth: spread of the sharpness over depths while it rises, over its mean"
WITHOUT = "muP, whole branches: the same, over that, octaves"
BY_DEPTH = Axes("sharpness in training, by depth", "step", "largest eigenvalue of the Hessian times step over 2")


@dataclass(frozen=True)
class SharpnessOverDepth(Claim, kind="p207-depth"):
    """Residual tanh networks of several depths, under full-batch descent of one rate."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    depths: tuple[int, ...] = (5, 9, 13)
    """Networks have these numbers of hidden layers."""
    width: int = 96
    """Each layer has this many units."""
    steps: int = 80
    """Training takes this many steps, in which the sharpness rises and does not reach 2 over the step."""
    rate: float = 0.2
    """The learning rate is this at every depth."""

    paper, scope = "P207", Scope.TRAINED
    statement = (
        "With residual branches divided by the root of their number the sharpness rises in training in the same way at every "
        "depth too; with whole branches it is the larger the deeper the network is."
    )
    measurements = (at_most(WITHIN, 0.25, "ratio"), at_least(WITHOUT, 0.6, "octaves"))
    panels = (BY_DEPTH,)

    def small(self) -> Self:
        return replace(self, depths=(5, 9), width=48, steps=40)

    def experiment(self, seed: int, run: Run) -> Findings:
        found, spreads = Findings(), {}
        x, y = problem(seed)
        times = np.linspace(0, self.steps, 5).astype(int).tolist()
        for name, power in (("by the root of depth", -0.5), ("whole", 0.0)):
            made = [network(self.width, depth, "mup", seed, (depth - 1) ** power) for depth in self.depths]
            curves = np.array([followed(one, self.rate, x, y, times) for one in made])
            spreads[name] = float((curves.std(0, ddof=1) / curves.mean(0)).mean())
            for depth, curve in zip(self.depths, curves / stability_threshold(self.rate), strict=True):
                found.curves[BY_DEPTH.title, f"{name}, {depth} layers"] = (times, curve.tolist())
        found.numbers = {
            WITHIN: spreads["by the root of depth"],
            WITHOUT: float(np.log2(spreads["whole"] / spreads["by the root of depth"])),
        }
        return found


SHIFT = "muP: largest difference of the best learning rate between widths"
FALL = "standard parametrisation: the same"
BEST = Axes("best learning rate", "width", "learning rate", x_log=True, y_log=True)


@dataclass(frozen=True)
class RatesOverWidth(Claim, kind="p207-rates"):
    """ReLU networks of several widths train with each learning rate of a grid of octaves."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the grid was tried out."""
    widths: tuple[int, ...] = (32, 128, 512)
    """Networks have these numbers of units a layer."""
    steps: int = 100
    """Training takes this many steps."""

    paper, scope = "P207", Scope.TRAINED
    statement = (
        "In the maximal update parametrisation the best learning rate is the same at every width, to a step of a grid of "
        "octaves; in the standard one it falls with the width."
    )
    measurements = (in_every_seed(at_most(SHIFT, 1.0, "octaves")), at_least(FALL, 1.5, "octaves"))
    panels = (BEST,)

    def small(self) -> Self:
        return replace(self, widths=(32, 256), steps=60)

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        x, y = problem(seed)
        for what, name, powers in ((SHIFT, "mup", range(-5, 4)), (FALL, "standard", range(-10, 2))):
            best = [min(powers, key=lambda power: self._loss(width, name, 2.0**power, x, y, seed)) for width in self.widths]
            found.numbers[what] = float(max(best) - min(best))
            found.curves[BEST.title, name] = (self.widths, [2.0**power for power in best])
        return found

    def _loss(self, width: int, name: str, rate: float, x: Tensor, y: Tensor, seed: int) -> float:
        """The loss after training, infinite where it diverges."""
        try:
            return float(descend(network(width, DEPTH, name, seed), x, y, rate, [self.steps])[0])
        except NonFiniteError:
            return float("inf")


def problem(seed: int) -> tuple[Tensor, Tensor]:
    """Samples [N, d] and targets [N, 1]."""
    x = seeded(seed)(SAMPLES, FEATURES)
    return x, (x[:, :1] * x[:, 1:2]).sign() + 0.5 * x[:, 2:3]


def network(width: int, depth: int, name: str, seed: int, branch: float | None = None) -> AbcNetwork:
    generator = torch.Generator().manual_seed(seed)
    unit, variance = (ReLU(), 2.0) if branch is None else (Tanh(), 1.0)  # branches of mean zero, which do not add up
    return AbcNetwork(FEATURES, width, depth, name, generator, nonlinearity=unit, weight_variance=variance, branch=branch)


def followed(own: AbcNetwork, rate: float, x: Tensor, y: Tensor, times: list[int]) -> list[float]:
    """The sharpness after these numbers of steps."""
    curve: list[float] = []
    descend(own, x, y, rate, times, lambda taken: curve.append(hessian_sharpness(own, half_squared_error, x, y)))
    return curve
