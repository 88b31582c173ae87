"""What the claims on linearised models share: one study, run beside them once a seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from ...probe.runs.run import Run
from ..studies.findings import Findings, Numbers
from ..studies.linearization import LinearizationStudy
from .claim import Claim, beside, fresh_seeds


@dataclass(frozen=True)
class LinearizedClaim(Claim):
    """A claim whose numbers a LinearizationStudy reports under the same names."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which settings and thresholds were chosen."""
    study: LinearizationStudy = field(default_factory=LinearizationStudy)
    """This study runs once for each seed, and all claims beside each other share its run."""

    def small(self) -> Self:
        """Recall of three pairs of few symbols, which a teacher of half the width learns whole in seconds; before it has, the
        shares of its loss that are closed mean nothing.
        """
        training = replace(self.study.training, steps=600, batch=16, length=9)
        tuning = replace(self.study.fine_tuning, steps=80, batch=16, length=9, learning_rate=1e-2)
        few = {"pairs": 3, "symbols": 8, "width": 32, "transfer_steps": 40, "sequences": 64, "probed": 64}
        return replace(self, study=replace(self.study, training=training, fine_tuning=tuning, **few))

    def experiment(self, seed: int, run: Run) -> Findings:
        numbers = beside(run, replace(self.study, seed=seed)).result("numbers")
        assert isinstance(numbers, Numbers)
        return Findings(numbers.as_dict())
