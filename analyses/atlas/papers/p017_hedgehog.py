"""P017: Hedgehog."""

from __future__ import annotations

from ...studies.linearization import CLOSED, DIVERGENCE, ENTROPY, ORDER, RATIO
from ..linearized import LinearizedClaim
from ..measurement import Scope, at_least


class Hedgehog(LinearizedClaim, kind="p017-mimicry"):
    """The learned feature map is compared with softmax and with elu + 1."""

    paper, scope = "P017", Scope.TRAINED
    statement = (
        "After a few hundred steps of distillation Hedgehog's maps are several times nearer to softmax's, in divergence and in "
        "entropy, than those of elu + 1 after the same distillation, and its weights rise with q . k."
    )
    measurements = (
        at_least(f"{DIVERGENCE}: {RATIO}", 2.0, "ratio"),
        at_least(f"{ENTROPY}: {RATIO}", 2.0, "ratio"),
        at_least(f"hedgehog: {ORDER}", 0.7, "rank correlation"),
        at_least(f"hedgehog: {CLOSED}", 0.8),
    )
