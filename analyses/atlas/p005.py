"""P005: Liger."""

from __future__ import annotations

from ..studies.linearization import LinearizationStudy
from .claim import Claim
from .findings import measured

CLAIM = Claim(
    number="P005",
    paper="Liger: Linearizing Large Language Models to Gated Recurrent Structures",
    reference="Lan et al. 2025, arXiv:2503.01496",
    statement="A softmax model becomes gated linear attention without a new parameter, and a few hundred steps of fine-tuning by "
    "changes of low rank close at least 80% of the gap in loss.",
    study=LinearizationStudy,
    measurements=(
        measured("gla: parameters added", "equals", 0),
        measured("gla: share of the gap closed in all", "at least", 0.8),
    ),
    note="The hybrid with sliding-window attention inside a layer is not built.",
)
