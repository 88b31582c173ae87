"""P338: all you need is a good init."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.models.unit_variance import output_variances, unit_variance_
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

INPUTS, SAMPLES, SMALL = 16, 128, 0.05

APART = "largest distance of a layer's variance from one, in a deep stack"
RESCALED = "rescalings of a layer, the largest number"
GAUSSIAN = "variance at the end of the stack from weights of N(0, 0.05^2)"
MIXER = "largest distance of a projection's variance from one, in a DeltaNet"
TRAINS = "loss left of the deep stack after training, over that at the start"
STUCK = "the same from weights of N(0, 0.05^2)"
BY_DEPTH = Axes("variance by depth", "layer", "variance", y_log=True)


@dataclass(frozen=True)
class GoodInit(Claim, kind="p338-unit-variance"):
    """A ReLU stack without biases, and a DeltaNet on random tokens."""

    depth: int = 50
    """The stack has this many hidden layers."""
    width: int = 128
    """Each has this many units."""
    steps: int = 60
    """Training takes this many steps of Adam."""

    paper, scope = "P338", Scope.TRAINED
    statement = (
        "Orthonormal weights, scaled layer by layer until each gives unit variance, need about one rescaling each, and a stack "
        "of 50 layers then trains, where small Gaussian weights leave no signal."
    )
    measurements = (
        at_most(APART, 0.02, "variance"),
        at_most(RESCALED, 3, "rescalings"),
        at_most(GAUSSIAN, 1e-10, "variance"),
        at_most(MIXER, 0.02, "variance"),
        at_most(TRAINS, 0.7, "ratio"),
        at_least(STUCK, 0.95, "ratio"),
    )
    panels = (BY_DEPTH,)
    note = "Image benchmarks are not measured; biases are left as they are."

    def small(self) -> Self:
        return replace(self, width=64, steps=30)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
        x, found = draw(SAMPLES, INPUTS), Findings()
        y = (x[:, :1] * x[:, 1:2]).sign()
        scaled, gaussian = self._stack(generator), self._stack(generator)
        taken = unit_variance_(scaled, x, generator=generator)
        profiles = {"unit variance": variances(scaled, x), "N(0, 0.05^2)": variances(gaussian, x)}
        for name, profile in profiles.items():
            found.curves[BY_DEPTH.title, name] = (range(1, len(profile) + 1), profile)
        tokens = torch.randint(0, 8, (16, 24), generator=generator)
        model = Model(ModelConfig(8, 32, 2, DeltaNet(heads=2, short_convolution=0), seed=seed)).eval()
        unit_variance_(model, tokens, generator=generator)
        found.numbers = {
            APART: max(abs(value - 1) for value in profiles["unit variance"]),
            RESCALED: max(taken.values()),
            GAUSSIAN: profiles["N(0, 0.05^2)"][-2],
            MIXER: max(abs(value - 1) for value in variances(model, tokens)),
            TRAINS: trained(scaled, x, y, self.steps),
            STUCK: trained(gaussian, x, y, self.steps),
        }
        return found

    def _stack(self, generator: torch.Generator) -> nn.Sequential:
        sizes = [INPUTS, *([self.width] * self.depth), 1]
        layers: list[nn.Module] = []
        for i in range(len(sizes) - 1):
            layer = nn.Linear(sizes[i], sizes[i + 1], bias=False, dtype=torch.float64)
            nn.init.normal_(layer.weight, std=SMALL, generator=generator)
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def variances(model: nn.Module, x: Tensor) -> list[float]:
    """The variance of what each linear map gives, in the order of calls."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        return list(output_variances(model, (x,), linear).values())


def trained(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    """The loss after some steps of Adam over that at the start, of squares."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    return losses[-1] / losses[0]
