"""P005: Liger."""

from __future__ import annotations

from ...studies.linearization import ADDED, AHEAD, CLOSED
from ..linearized import LinearizedClaim
from ..measurement import Scope, at_least, equals, in_every_seed


class Liger(LinearizedClaim, kind="p005-gates-without-parameters"):
    """The gate that needs no parameter."""

    paper, scope = "P005", Scope.TRAINED
    statement = (
        "A softmax model becomes gated linear attention without a new parameter, and a few hundred steps of fine-tuning by "
        "changes of low rank close at least 80% of the gap in loss, far more than where the projections are not the teacher's."
    )
    measurements = (
        in_every_seed(equals(f"gla: {ADDED}", 0, unit="parameters")),
        at_least(f"gla: {CLOSED}", 0.8),
        at_least(f"gla: {AHEAD}", 0.2),
    )
    note = "The hybrid with sliding-window attention inside a layer is not built."
