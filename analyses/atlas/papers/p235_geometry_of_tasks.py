"""P235: task and nonlinearity decide together how a hidden layer represents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...geometry.abstraction import parallelism
from ...similarity.centred_kernel_alignment import CentredKernelAlignment
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least

INPUTS, PATTERNS = 64, 16
NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}

TARGET = "alignment of the hidden layer with the target, tanh less ReLU"
INPUT = "alignment of the hidden layer with the input, ReLU less tanh"
PARALLEL = "parallelism of the target over conditions, tanh less ReLU"
TIGHT = "alignment with the target, tanh less ReLU, where there are twice as many inputs as dimensions"
SOLVED = "least share of samples right"
LAYER = Axes("alignment of the hidden layer in training", "step", "alignment with the target")


@dataclass(frozen=True)
class TaskGeometry(Claim, kind="p235-task-geometry"):
    """Networks with one hidden layer learn a binary label of unstructured inputs, from small weights."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    units: int = 100
    """The hidden layer has this many units."""
    steps: int = 1000
    """Training takes this many steps of Adam on all samples."""

    paper, scope = "P235", Scope.TRAINED
    statement = (
        "Where weights are small at first, a hidden layer of tanh takes on the geometry of the target, and one of ReLU keeps "
        "more of that of the input; the target's code is then the more abstract with tanh."
    )
    measurements = (
        at_least(SOLVED, 0.95, "share"),
        at_least(TARGET, 0.0, "alignment"),
        at_least(INPUT, 0.05, "alignment"),
        at_least(PARALLEL, 0.0, "cosine"),
    )
    panels = (LAYER,)
    note = (
        "With twice as many inputs as dimensions it is ReLU that comes nearer to the target. Other tasks and lazy training "
        "are not measured."
    )

    def small(self) -> Self:
        return replace(self, steps=300)

    def experiment(self, seed: int, run: Run) -> Findings:
        x, target = _patterns(PATTERNS, INPUTS, seed)
        many = _patterns(4 * PATTERNS, INPUTS // 2, seed)
        label, condition = (target[:, 0] > 0).long(), torch.arange(PATTERNS) // 2 % 2  # of the latter nothing has to be learned
        measured, right, found, align = dict[str, dict[str, float]](), [], Findings(), CentredKernelAlignment(debiased=False)
        for name, nonlinearity in NONLINEARITIES.items():
            hidden, share, history = self._learned(x, target, nonlinearity, seed)
            measured[name] = {
                TARGET: align(hidden, target),
                TIGHT: align(self._learned(*many, nonlinearity, seed)[0], many[1]),
                INPUT: -align(hidden, x),
                PARALLEL: parallelism(hidden, label, condition),
            }
            right.append(share)
            found.curves[LAYER.title, name] = (list(history), list(history.values()))
        found.numbers = {what: value - measured["relu"][what] for what, value in measured["tanh"].items()} | {SOLVED: min(right)}
        return found

    def _learned(
        self, x: Tensor, target: Tensor, nonlinearity: Callable[[Tensor], Tensor], seed: int
    ) -> tuple[Tensor, float, dict[int, float]]:
        """The hidden layer after training, the share of samples right, and its alignment with the target by step."""
        generator, align = torch.Generator().manual_seed(seed + 1), CentredKernelAlignment(debiased=False)
        inward = (0.1 * torch.randn(x.shape[1], self.units, generator=generator)).requires_grad_()
        bias = torch.zeros(self.units, requires_grad=True)
        outward = (0.1 * torch.randn(self.units, target.shape[1], generator=generator)).requires_grad_()
        optimizer, history = torch.optim.Adam([inward, bias, outward], lr=2e-3), dict[int, float]()
        for step in range(self.steps):
            hidden = nonlinearity(x @ inward + bias)
            if step % (self.steps // 8) == 0:
                history[step] = align(hidden.detach(), target)
            loss = torch.nn.functional.softplus(-2 * target * (hidden @ outward)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hidden = nonlinearity(x @ inward + bias)
            return hidden, float((target * (hidden @ outward) > 0).double().mean()), history


def _patterns(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normal inputs [count, size] of length near 1, and a label of -1 or 1 for each, [count, 1], as many of either."""
    x = torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) / size**0.5
    return x, 2.0 * (torch.arange(count) % 2)[:, None] - 1
