"""P009: hybrid linear attention."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from ....probe.mixers import RetNet
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...studies.findings import Findings
from ...studies.hybrid import HybridStudy
from ...studies.results.hybrid import HybridTable
from ..claim import Claim, beside
from ..measurement import Scope, at_least, equals

HALF = "recall, half softmax less none"
QUARTER = "recall, one in four less none"
LOSS = "loss on templates, none over half softmax"


@dataclass(frozen=True)
class Shares(Claim, kind="p009-shares"):
    """What the share of softmax layers buys."""

    study: HybridStudy = field(default_factory=HybridStudy)
    """This study runs once for each seed."""

    paper, scope = "P009", Scope.TRAINED
    statement = "The loss on language varies little with the share of softmax layers, and recall rises with it."
    note = "Recall rises with the first softmax layer on each seed; how far, differs much between seeds."
    measurements = (at_least(HALF, 0.1), at_least(QUARTER, 0.05), equals(LOSS, 1.0, 0.05, "ratio"))

    def small(self) -> Self:
        """Recall of few symbols, which one softmax layer learns in a few seconds, beside a state too small for three pairs."""
        recall, language = Training(steps=150, batch=16, length=9, learning_rate=1e-2), Training(steps=3, batch=8, length=8)
        names, mixers = ("RetNet",), (RetNet(heads=2, key_size=2, value_size=8, short_convolution=4),)
        study = replace(self.study, recall=recall, language=language, names=names, mixers=mixers)
        return replace(self, study=replace(study, shares=(0.0, 0.25, 0.5), pairs=3, symbols=4))

    def experiment(self, seed: int, run: Run) -> Findings:
        table = beside(run, replace(self.study, seed=seed)).result("hybrid")
        assert isinstance(table, HybridTable)
        recall, loss = table.mean_over_mixers("recall"), table.mean_over_mixers("loss")
        return Findings({HALF: recall[0.5] - recall[0.0], QUARTER: recall[0.25] - recall[0.0], LOSS: loss[0.0] / loss[0.5]})
