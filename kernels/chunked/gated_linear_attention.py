"""Chunk terms of gated linear attention: a decay for each key channel (Yang et al. 2024, arXiv:2312.06635)."""

from __future__ import annotations

from torch import Tensor

from .decay import cumulative
from .state_passing import ChunkTerms
from .vector_gram import Gram, vector_gram


def terms(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, gram_of: Gram = vector_gram) -> ChunkTerms:
    """Compute the terms of a chunk from q, k, log_decay [J, S, H, C, K] and v [J, S, H, C, V]."""
    return with_scores(gram_of(q[..., None, :], k[..., None, :], log_decay), q, k, v, log_decay)


def with_scores(scores: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> ChunkTerms:
    """Compute the terms of a chunk whose scores are given."""
    c = cumulative(log_decay)
    end = c[..., -1:, :]
    return ChunkTerms(
        query=q * c.to(q.dtype).exp(),
        scores=scores,
        key=k,
        key_weight=(end - c).to(q.dtype).exp(),
        value=v,
        erase=None,
        decay=end.squeeze(-2).to(q.dtype).exp(),
        cumulative=c,
    )
