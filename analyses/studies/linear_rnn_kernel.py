"""The tangent kernel of a linear recurrence: a formula, its limit of many channels, and the training that it predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...probe.configuration import BadSettingError, Count
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ..lazy.lazy_or_rich import Data
from ..lazy.recurrence_kernel import recurrence_kernel
from ..lazy.results.recurrence_kernel import RecurrenceKernel


@dataclass(frozen=True)
class LinearRecurrenceKernel(Study, kind="ntk-of-a-linear-rnn"):
    """Diagonal linear recurrences learn to say what they were shown some tokens ago."""

    channels: tuple[Count, ...] = (16, 64, 256, 1024)
    """Recurrences have these numbers of channels."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A recurrence is drawn for each of these seeds."""
    tokens: Count = 10
    """Sequences are white noise of this many tokens."""
    lag: Count = 2
    """The target is the input this many tokens before the last."""
    samples: Count = 40
    """The recurrences are trained on this many sequences."""
    test_samples: Count = 200
    """Errors are measured on this many others."""
    signed: bool = True
    """If true, decays are drawn between -0.9 and 0.9, else between 0 and 0.9, where lags are harder to tell apart."""
    steps: Count = 600
    """Training takes this many steps of full-batch gradient descent."""

    question: ClassVar[str] = "Does a linear RNN train as the formula of its tangent kernel says, and from which width on?"
    time: ClassVar[str] = "1 min"

    def check(self) -> None:
        if self.lag >= self.tokens:
            raise BadSettingError(f"lag={self.lag} must be below tokens={self.tokens}")

    def execute(self, run: Run) -> None:
        run.compute("recurrence_kernel", self._compare)

    def _compare(self) -> RecurrenceKernel:
        generator = torch.Generator().manual_seed(self.seed)
        inputs = torch.randn(self.samples + self.test_samples, self.tokens, generator=generator, dtype=torch.float64)
        targets, cut = inputs[:, -1 - self.lag : self.tokens - self.lag], self.samples
        data = Data(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])
        times = sorted({0, *torch.logspace(0, math.log10(self.steps), 24).round().long().tolist()})
        return recurrence_kernel(data, self.channels, self.seeds, times=times, decays=(-0.9 if self.signed else 0.0, 0.9))
