"""P265: a framework and benchmark for deep batch active learning, its choice of samples by the sketched tangent kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...ntk.empirical_ntk import tangent_kernel
from ...ntk.selection import choose_by_largest_cluster
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least

FEATURES, WIDTH, SKETCH, STEPS = 4, 64, 512, 400
POOL, LABELLED, BATCH, HELD_OUT = 600, 20, 40, 1000

GAIN = "root mean squared error after a random batch over that after the chosen one, octaves"
ERRORS = Axes("held-out error after the batch", "pool", "root mean squared error")


@dataclass(frozen=True)
class BatchSelection(Claim, kind="p265-selection"):
    """A network learns 20 labels of a pool of 600 points, and 40 more are chosen by its tangent kernel."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    pools: int = 4
    """A seed draws so many pools, each with functions and networks of its own."""

    paper, scope = "P265", Scope.TRAINED
    statement = (
        "A batch of samples that are chosen by the sketched tangent kernel of a trained network, each the farthest of the "
        "largest cluster, teaches it more than a random one."
    )
    measurements = (at_least(GAIN, 0.15, "octaves"),)
    panels = (ERRORS,)
    note = "One batch on pools whose points' lengths vary by factors; the paper's tables of measured data are not at hand."

    def experiment(self, seed: int, run: Run) -> Findings:
        errors = [_errors(self.pools * seed + index) for index in range(self.pools)]
        found = Findings({GAIN: float(np.mean([np.log2(random / chosen) for chosen, random in errors]))})
        for name, own in zip(("chosen", "random"), zip(*errors, strict=True), strict=True):
            found.curves[ERRORS.title, name] = (range(1, self.pools + 1), own)
        return found


def _errors(seed: int) -> tuple[float, float]:
    """The held-out error after the chosen batch, and after the first points of the pool, which are drawn alike."""
    generator = torch.Generator().manual_seed(seed)
    pool, held_out = _points(POOL, generator), _points(HELD_OUT, generator)
    waves = torch.randn(FEATURES, 3, generator=generator, dtype=torch.float64) / FEATURES**0.5

    def target(x: Tensor) -> Tensor:
        values: Tensor = (x @ waves).sin().sum(1, keepdim=True) + x.norm(dim=1, keepdim=True)
        return values

    def trained(places: list[int]) -> nn.Module:
        model = DenseNetwork(2, bias_variance=0.1).finite((FEATURES,), WIDTH, torch.Generator().manual_seed(seed))
        _train(model, pool[places], target(pool[places]))
        return model

    labelled = list(range(LABELLED))
    kernel = tangent_kernel(trained(labelled), pool, method="projected", features=SKETCH, seed=seed).values
    batches = choose_by_largest_cluster(kernel, labelled, BATCH), list(range(LABELLED, LABELLED + BATCH))
    with torch.no_grad():
        missed = [trained(labelled + batch)(held_out) - target(held_out) for batch in batches]
    chosen, random = (float(own.square().mean().sqrt()) for own in missed)
    return chosen, random


def _points(count: int, generator: Generator) -> Tensor:
    """Normal directions with lengths that are spread log-normally, so that few points lie far out."""
    directions, lengths = (torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (FEATURES, 1))
    return 0.5 * directions * (0.8 * lengths).exp()


def _train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    with torch.enable_grad():
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            schedule.step()
