"""P006: negative eigenvalues and state tracking."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from ....probe.runs.run import Run
from ...behaviour.results.accuracy_by_length import AccuracyByLength
from ...studies.findings import Findings
from ...studies.parity import NEGATIVE, POSITIVE, ParityStudy
from ..claim import Claim, beside
from ..measurement import Scope, at_least, at_most, equals, in_every_seed

ACCURACY = "accuracy at length 256, {}"
EIGENVALUE = "least eigenvalue used, {}"


@dataclass(frozen=True)
class Parity(Claim, kind="p006-parity"):
    """Parity beyond the length of training."""

    study: ParityStudy = field(default_factory=ParityStudy)
    """This study runs once for each seed."""

    paper, scope = "P006", Scope.TRAINED
    statement = (
        "Trained on parity to length 40 and tested at 256, DeltaNet with eigenvalues in [-1, 1] solves it; with [0, 1] it stays "
        "near chance."
    )
    measurements = (
        at_least(ACCURACY.format(NEGATIVE), 0.99, "accuracy"),
        equals(ACCURACY.format(POSITIVE), 0.5, 0.05, "accuracy"),
        at_most(EIGENVALUE.format(NEGATIVE), -0.9, "eigenvalue"),
        in_every_seed(at_least(EIGENVALUE.format(POSITIVE), -1e-9, "eigenvalue")),  # 1 - beta |k|^2 with beta and |k| in [0, 1]
    )

    def small(self) -> Self:
        training = replace(self.study.training, steps=150, batch=32, length=24)
        study = replace(self.study, training=training, test_lengths=(256,), sequences=32, probe_sequences=32, probe_length=16)
        return replace(self, study=study)

    def experiment(self, seed: int, run: Run) -> Findings:
        finished = beside(run, replace(self.study, seed=seed))
        accuracy, eigenvalues = finished.result("accuracy_by_length"), finished.result("transition_spectrum").table
        assert isinstance(accuracy, AccuracyByLength)
        numbers = {}
        for name in (NEGATIVE, POSITIVE):
            numbers[ACCURACY.format(name)] = float(accuracy.value("accuracy", model=name, length=256))
            numbers[EIGENVALUE.format(name)] = float(eigenvalues.loc[eigenvalues["model"] == name, "real"].min())
        return Findings(numbers)
