"""Products of transitions that grow: no model is trained, the worst tokens are searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...probe.configuration import Count
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ..spectra.growth import product_growth
from ..spectra.results.growth import ProductGrowth


@dataclass(frozen=True)
class GrowthStudy(Study, kind="growth"):
    """RWKV-7's transitions beside those of the delta rule."""

    channels: tuple[Count, ...] = (3, 4, 8)
    """Keys of these sizes are tried."""
    periods: tuple[Count, ...] = (2, 3)
    """So many tokens are repeated."""
    steps: Count = 300
    """The search for the worst tokens takes so many steps."""
    tokens: Count = 120
    """The product is followed for so many tokens."""

    question: ClassVar[str] = "Can a state grow without bound though no single transition of RWKV-7 has an eigenvalue above 1?"
    time: ClassVar[str] = "10 s"

    def execute(self, run: Run) -> None:
        run.compute("product_growth", self._growth)

    def _growth(self) -> ProductGrowth:
        return product_growth(self.channels, self.periods, tokens=self.tokens, steps=self.steps, seed=self.seed)
