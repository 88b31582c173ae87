"""P204: grokking as the transition from lazy to rich training dynamics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from ....probe.runs.run import Run
from ...kernel_regression.gradient_descent import largest_stable_step
from ...lazy.centred_training import train_centred
from ...ntk.empirical_ntk import empirical_ntk
from ...ntk.measures import kernel_target_alignment
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least

FEATURES, UNITS, BEND, TRAINED, LEARNT = 40, 150, 0.05, 0.05, 0.1

LATE = "steps until the held-out error is below 0.1 over those until the training error is below 0.05, scale 2"
LATER = "the same, over that at scale 0.5"
RISES = "largest held-out error on the way over that at the start, scale 2"
ALIGNS = "alignment of the tangent kernel with held-out targets, at the end over that at the fit of the training set, scale 2"
RICH = "the same, over that at the start, scale 0.5"
ERRORS = Axes("errors in training", "step", "mean squared error", x_log=True, y_log=True)


@dataclass(frozen=True)
class LazyToRich(Claim, kind="p204-grokking"):
    """Two-layer networks learn the square of a direction without weight decay, at two output scales."""

    seeds: tuple[int, ...] = tuple(range(7, 15))
    """These seeds are others than 0 to 6, on which the settings were tried out and the spread was seen."""
    samples: int = 200
    """The training set holds this many samples."""
    scales: tuple[float, float] = (0.5, 2.0)
    """The networks' outputs are multiplied by these numbers."""
    share: float = 0.3
    """The learning rate is this share of the largest one that is stable at the start."""
    most: int = 4000
    """Training takes this many steps at most."""

    paper, scope = "P204", Scope.TRAINED
    statement = (
        "A network that fits its training set lazily, and whose tangent kernel is far from the target, generalises late, when "
        "its features turn: the later the larger the output scale, and with an error that rises first."
    )
    measurements = (
        at_least(LATE, 2.0, "ratio"),
        at_least(LATER, 1.2, "ratio"),
        at_least(RISES, 1.05, "ratio"),
        at_least(ALIGNS, 1.03, "ratio"),
        at_least(RICH, 2.0, "ratio"),
    )
    panels = (ERRORS,)
    note = "Modular arithmetic is not measured."

    def small(self) -> Self:
        return replace(self, most=3000)

    def experiment(self, seed: int, run: Run) -> Findings:
        found, delays, turned = Findings(), {}, {}
        for scale in self.scales:
            times, trained, tested, alignments = self._run(scale, seed)
            fit = next((time for time, error in zip(times, trained, strict=True) if error < TRAINED), self.most)
            grok = next((time for time, error in zip(times, tested, strict=True) if error < LEARNT), self.most)
            delays[scale] = grok / fit
            turned[scale] = alignments[-1] / alignments[0]
            for name, errors in (("training", trained), ("held out", tested)):
                found.curves[ERRORS.title, f"{name}, scale {scale:g}"] = (times[1:], errors[1:])
        at_fit = next(index for index, time in enumerate(times) if time >= fit)
        low, high = self.scales
        found.numbers = {
            LATE: delays[high],
            LATER: delays[high] / delays[low],
            RISES: max(tested) / tested[0],
            ALIGNS: alignments[-1] / alignments[at_fit],
            RICH: turned[low],
        }
        return found

    def _run(self, scale: float, seed: int) -> tuple[list[int], list[float], list[float], list[float]]:
        """Steps, training and held-out errors, and alignments at these steps."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.samples + 500, FEATURES, generator=generator, dtype=torch.float64)
        direction = torch.randn(FEATURES, 1, generator=generator, dtype=torch.float64)
        y = (x @ (direction / direction.norm())).square() / 2
        train, targets, test, test_targets = x[: self.samples], y[: self.samples], x[self.samples :], y[self.samples :]
        model = Bent(generator)
        times = sorted(
            {int(time) for time in torch.logspace(0, torch.log10(torch.tensor(float(self.most))), 60)} | {0, self.most}
        )
        alignments: list[float] = []

        def aligned(taken: int) -> None:
            alignments.append(kernel_target_alignment(empirical_ntk(model, test), test_targets))

        rate = self.share * largest_stable_step(empirical_ntk(model, train))
        went = train_centred(model, train, targets, test, scale=scale, step=rate, times=times, observe=aligned)
        errors = [
            (values - wanted).square().mean((1, 2)).tolist()
            for values, wanted in ((went.train, targets), (went.test, test_targets))
        ]
        return times, *errors, alignments


class Bent(nn.Module):
    """The mean over units of h + (bend / 2) h^2, h = w . x."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(UNITS, FEATURES, generator=generator, dtype=torch.float64) / FEATURES**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = x @ self.weight.T
        out: Tensor = (h + BEND / 2 * h.square()).mean(1, keepdim=True)
        return out
