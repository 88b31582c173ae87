"""P207: why learning rates transfer: sharpness at every width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...infinite_width.nonlinearities import ReLU
from ...lazy.parametrised import AbcNetwork, descend, half_squared_error
from ...lazy.sharpness import hessian_sharpness, stability_threshold
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals

SAMPLES, FEATURES, DEPTH = 48, 8, 2

OVERLAP = "muP: spread of the sharpness over widths in the second half, over its mean"
SEPARATE = "NTK parametrisation: the same, over muP's"
EDGE = "muP: sharpness at the end over 2 / step, the mean over widths"
BY_STEP = Axes("sharpness in training", "step", "largest eigenvalue of the Hessian times step over 2")


@dataclass(frozen=True)
class SharpnessTransfer(Claim, kind="p207-sharpness"):
    """ReLU networks of several widths in two parametrisations, under full-batch descent of one rate."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
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
        at_least(SEPARATE, 1.5, "ratio"),
        equals(EDGE, 1.0, 0.1, "ratio"),
    )
    panels = (BY_STEP,)
    note = "Transfer over depth and Adam are not measured."

    def small(self) -> Self:
        return replace(self, widths=(32, 128), steps=200)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        x = draw(SAMPLES, FEATURES)
        y = (x[:, :1] * x[:, 1:2]).sign() + 0.5 * x[:, 2:3]
        times = np.linspace(0, self.steps, 11).astype(int).tolist()
        ratios = {}
        for name, rate in (("mup", self.mup_rate), ("ntk", self.ntk_rate)):
            curves = np.array([self._curve(name, rate, width, x, y, times, seed) for width in self.widths])
            ratios[name] = curves / stability_threshold(rate)
            for width, curve in zip(self.widths, ratios[name], strict=True):
                found.curves[BY_STEP.title, f"{name}, width {width}"] = (times, curve.tolist())
        late = {name: own[:, len(times) // 2 :] for name, own in ratios.items()}
        spreads = {name: float((own.std(0, ddof=1) / own.mean(0)).mean()) for name, own in late.items()}
        found.numbers = {
            OVERLAP: spreads["mup"],
            SEPARATE: spreads["ntk"] / spreads["mup"],
            EDGE: float(ratios["mup"][:, -3:].mean()),
        }
        return found

    def _curve(self, name: str, rate: float, width: int, x: Tensor, y: Tensor, times: list[int], seed: int) -> list[float]:
        network = AbcNetwork(
            FEATURES, width, DEPTH, name, torch.Generator().manual_seed(seed), nonlinearity=ReLU(), weight_variance=2.0
        )
        curve: list[float] = []
        descend(network, x, y, rate, times, lambda taken: curve.append(hessian_sharpness(network, half_squared_error, x, y)))
        return curve
