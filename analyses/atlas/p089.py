"""P089: Mamba in the Llama."""

from __future__ import annotations

from ..studies.linearization import LinearizationStudy
from .claim import Claim
from .findings import measured

CLAIM = Claim(
    number="P089",
    paper="The Mamba in the Llama: Distilling and Accelerating Hybrid Models",
    reference="Wang et al. 2024, arXiv:2408.15237",
    statement="With step 1 and no decay the converted layer is linear attention with the teacher's queries, keys "
    "and values; seeded "
    "with them it distils to a lower loss than from random projections in as many steps.",
    study=LinearizationStudy,
    measurements=(
        measured("mamba without decay and step 1, against linear attention", "at most", 1e-5),
        measured("mamba: transfer loss, random projections over the teacher's", "at least", 1.0),
        measured("mamba: share of the gap closed in all", "at least", 0.8),
    ),
)
