"""P017: Hedgehog."""

from __future__ import annotations

from ..studies.linearization import LinearizationStudy
from .claim import Claim
from .findings import measured

CLAIM = Claim(
    number="P017",
    paper="The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry",
    reference="Zhang et al. 2024, arXiv:2402.04347",
    statement="After a few hundred steps of distillation Hedgehog's maps are several times nearer to softmax's than "
    "those of elu + 1, in "
    "divergence and in entropy, and its weights rise with q . k.",
    study=LinearizationStudy,
    measurements=(
        measured("divergence from the softmax map, nats: elu + 1 over hedgehog", "at least", 2.0),
        measured("entropy apart from the softmax map's, nats: elu + 1 over hedgehog", "at least", 2.0),
        measured("hedgehog: rank correlation of q . k and weight", "at least", 0.7),
        measured("hedgehog: share of the gap closed in all", "at least", 0.8),
    ),
)
