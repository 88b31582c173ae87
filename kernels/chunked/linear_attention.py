"""Chunk terms of linear attention with a scalar decay for each head, or none.

scores = (Q K^T) * Gamma with Gamma_ij = e^{c_i - c_j} for j <= i; nothing is erased.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .decay import causal_mask, cumulative, scalar_ratios
from .state_passing import ChunkTerms


def terms(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None) -> ChunkTerms:
    """Compute the terms of a chunk from its tokens.

    q, k [J, S, H, C, K], v [J, S, H, C, V], log_decay [J, S, H, C] or None.
    """
    order = torch.arange(q.shape[3], device=q.device)
    mask = causal_mask(order, order, q.dtype)
    scores = q @ k.mT
    if log_decay is None:
        return ChunkTerms(q, scores * mask, k, None, v, None, None, None)
    c = cumulative(log_decay)
    end = c[..., -1:]
    return ChunkTerms(
        query=q * c.to(q.dtype).exp()[..., None],
        scores=scores * scalar_ratios(c, c, mask),
        key=k,
        key_weight=(end - c).to(q.dtype).exp()[..., None],
        value=v,
        erase=None,
        decay=end.to(q.dtype).exp(),
        cumulative=c[..., None],
    )
