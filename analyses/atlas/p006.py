"""P006: negative eigenvalues and state tracking."""

from __future__ import annotations

from ...probe.runs.run import Run
from ..behaviour.accuracy_by_length import AccuracyByLength
from ..studies.parity import NEGATIVE, POSITIVE, ParityStudy
from .claim import Claim, Measurement


def _accuracy(model: str, run: Run) -> float:
    result = run.result("accuracy_by_length")
    assert isinstance(result, AccuracyByLength)
    return result.at(model, 256)


def _least_eigenvalue(model: str, run: Run) -> float:
    table = run.result("transition_spectrum").table
    return float(table.loc[table["model"] == model, "real"].min())


CLAIM = Claim(
    number="P006",
    paper="Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues",
    reference="Grazzi et al. 2025, arXiv:2411.12537",
    statement="Trained on parity to length 40 and tested at 256, DeltaNet with eigenvalues in [-1, 1] solves it; with [0, 1] it "
    "stays near chance.",
    study=ParityStudy,
    measurements=(
        Measurement("accuracy at length 256, [-1, 1]", 0.99, "at least", lambda run: _accuracy(NEGATIVE, run)),
        Measurement("accuracy at length 256, [0, 1]", 0.5, "equals", lambda run: _accuracy(POSITIVE, run), tolerance=0.05),
        Measurement("least eigenvalue used, [-1, 1]", -0.9, "at most", lambda run: _least_eigenvalue(NEGATIVE, run)),
        Measurement(
            "least eigenvalue used, [0, 1]", 0.0, "at least", lambda run: _least_eigenvalue(POSITIVE, run), tolerance=1e-9
        ),
    ),
)
