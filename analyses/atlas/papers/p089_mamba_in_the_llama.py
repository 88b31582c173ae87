"""P089: Mamba in the Llama."""

from __future__ import annotations

from ..linearized import LinearizedClaim
from ..measurement import Scope, at_least, at_most


class Reuse(LinearizedClaim, kind="p089-reuse"):
    """What the teacher's projections are worth."""

    paper, scope = "P089", Scope.TRAINED
    statement = (
        "With step 1 and no decay the converted layer is linear attention with the teacher's queries, keys and "
        "values; seeded with them it distils to a lower loss than from random projections in as many steps."
    )
    measurements = (
        at_most("mamba without decay and step 1, against linear attention", 1e-5),
        at_least("mamba: transfer loss, random projections over the teacher's", 1.2, "ratio"),
        at_least("mamba: share of the gap closed in all", 0.8),
    )
