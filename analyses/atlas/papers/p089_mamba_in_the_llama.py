"""P089: Mamba in the Llama."""

from __future__ import annotations

from ...studies.linearization import CLOSED, MOVED_AHEAD, REUSED, SEEDED
from ..linearized import LinearizedClaim
from ..measurement import Scope, at_least, at_most, in_every_seed


class Reuse(LinearizedClaim, kind="p089-reuse"):
    """What the teacher's projections are worth."""

    paper, scope = "P089", Scope.TRAINED
    statement = (
        "With step 1 and no decay the converted layer is linear attention with the teacher's queries, keys and "
        "values; seeded with them it distils to a lower loss than from random projections in as many steps, and the "
        "whole model keeps more of what it learned."
    )
    measurements = (
        in_every_seed(at_most(SEEDED, 1e-5)),
        at_least(REUSED, 1.0, "ratio"),
        at_least(f"mamba: {MOVED_AHEAD}", 0.2),
        at_least(f"mamba: {CLOSED}", 0.8),
    )
    note = "Layer by layer random projections may come as near in these steps; the whole model then keeps far less."
