"""P202: what can be learnt with wide convolutional neural networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.hierarchical import HierarchicalNetwork
from ...infinite_width.network import infinite_width_kernels
from ...kernel_regression.ridge import kernel_ridge
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import relative_change
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

NETWORKS = {4: HierarchicalNetwork((1, 2, 2)), 8: HierarchicalNetwork((1, 2, 2, 2))}
HELD_OUT = 200

FINITE = "tangent kernel of drawn networks of 256 channels, the mean of 80, against the formula"
LOCAL = "exponent of the samples in the error for a function of one position, of {}"
GLOBAL = "exponent of the samples in the error for a function of all positions, of {}"
STEEPER = "exponent for all positions less that for one, 8 positions"
SAME = "exponent for one of 8 positions less that for one of 4"
CURVES = Axes("error of regression with the tangent kernel", "samples", "mean square over the variance", x_log=True, y_log=True)


@dataclass(frozen=True)
class WideConvolutions(Claim, kind="p202-locality"):
    """Regression with the tangent kernel of convolutions over a tree of positions, each a point on a circle."""

    sizes: tuple[int, ...] = (64, 128, 256, 512)
    """The training sets hold these numbers of samples."""

    draws: int = 3
    """Each error is the mean over this many targets."""

    paper, scope = "P202", Scope.IDENTITY
    statement = (
        "A convolutional network in the kernel regime learns a function of few neighbouring positions at a rate that does not "
        "depend on how many positions there are, and one of all positions the slower the more there are."
    )
    measurements = (
        at_most(FINITE, 0.05),
        at_least(STEEPER, 0.5, "exponent"),
        equals(SAME, 0.0, 0.5, "exponent"),
    )
    panels = (CURVES,)
    note = "Exponents are those of a few hundred samples, not the asymptotic ones."

    def small(self) -> Self:
        return replace(self, sizes=(64, 256), draws=2)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, found = torch.Generator().manual_seed(seed), Findings()
        x = on_circles(6, 4, generator)
        drawn = [empirical_ntk(NETWORKS[4].finite((4, 2), 256, generator), x) for _ in range(80)]
        found.numbers[FINITE] = relative_change(torch.stack(drawn).mean(0), infinite_width_kernels(NETWORKS[4], x).ntk)
        slopes = {}
        for positions in NETWORKS:
            for name, local in (("one position", True), ("all positions", False)):
                errors = self._errors(positions, local, generator)
                slopes[positions, local] = exponent(self.sizes, errors)
                found.curves[CURVES.title, f"{name} of {positions}"] = (self.sizes, errors)
        found.numbers[STEEPER] = slopes[8, False] - slopes[8, True]
        found.numbers[SAME] = slopes[8, True] - slopes[4, True]
        return found

    def _errors(self, positions: int, local: bool, generator: torch.Generator) -> list[float]:
        """Mean squared errors over several targets, drawn from the process of a network that sees one position or all."""
        network = NETWORKS[positions]
        errors = np.zeros((self.draws, len(self.sizes)))
        for draw in range(self.draws):
            x = on_circles(max(self.sizes) + HELD_OUT, positions, generator)
            seen, teacher = (x[:, :1], HierarchicalNetwork((1,))) if local else (x, network)
            kernel = infinite_width_kernels(network, x).ntk
            y = drawn_from(infinite_width_kernels(teacher, seen).nngp, generator)
            test = slice(max(self.sizes), None)
            for index, size in enumerate(self.sizes):
                predicted = kernel_ridge(kernel[:size, :size], y[:size], kernel[test, :size], 1e-8).mean
                errors[draw, index] = float((predicted - y[test]).square().mean() / y.var())
        return [float(value) for value in errors.mean(0)]


def on_circles(count: int, positions: int, generator: torch.Generator) -> Tensor:
    """Inputs [count, positions, 2], each position a point on the unit circle."""
    angle = 2 * torch.pi * torch.rand(count, positions, generator=generator, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], -1)


def drawn_from(kernel: Tensor, generator: torch.Generator) -> Tensor:
    """A function drawn from a Gaussian process, at the kernel's points [N, 1]."""
    values, vectors = torch.linalg.eigh(kernel)
    drawn = torch.randn(len(kernel), 1, generator=generator, dtype=torch.float64)
    function: Tensor = vectors @ (values.clamp(min=0).sqrt()[:, None] * drawn)
    return function
