"""P009: hybrid linear attention."""

from __future__ import annotations

from ...probe.runs.run import Run
from ..studies.hybrid import HybridStudy, HybridTable
from .claim import Claim, Measurement

MIXERS = ("Gated DeltaNet", "HGRN2", "RetNet")


def _table(run: Run) -> HybridTable:
    table = run.result("hybrid")
    assert isinstance(table, HybridTable)
    return table


def _mean(run: Run, share: float, column: str) -> float:
    return sum(_table(run).at(mixer, share, column) for mixer in MIXERS) / len(MIXERS)


def _more(run: Run, share: float) -> float:
    """How much more is recalled with this share of softmax than with none."""
    return _mean(run, share, "recall") - _mean(run, 0.0, "recall")


def _loss_ratio(run: Run) -> float:
    return _mean(run, 0.0, "loss") / _mean(run, 0.5, "loss")


CLAIM = Claim(
    number="P009",
    paper="A Systematic Analysis of Hybrid Linear Attention",
    reference="Wang et al. 2025, arXiv:2507.06457",
    statement="The loss on language varies little with the share of softmax layers, and recall rises with it.",
    study=HybridStudy,
    measurements=(
        Measurement("recall, half softmax less none", 0.1, "at least", lambda run: _more(run, 0.5)),
        Measurement("recall, one in four less none", 0.0, "at least", lambda run: _more(run, 0.25)),
        Measurement("loss on templates, none over half softmax", 1.0, "equals", _loss_ratio, 0.05),
    ),
)
