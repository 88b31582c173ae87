"""Chunk terms of the (gated) delta rule with n keys a token, by the WY form of a product of generalised Householders.

Every key is a write of its own: write m belongs to token t(m), carries that token's cumulative log-decay c, and is read by
its own and later tokens. With Gamma_ml = e^{c_m - c_l},

    T = (I + tril(diag(beta) K K^T * Gamma, -1))^{-1}
    value = T diag(beta) V          erase = T diag(beta e^c) K          scores_tm = q_t . k_m e^{c_t - c_m},  t(m) <= t

(Yang et al. 2024, arXiv:2406.06484, section 3.2; gates as in arXiv:2412.06464; n keys as in arXiv:2502.10297).
T is found by forward substitution: Neumann doubling loses all digits on correlated keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .decay import causal_mask, cumulative, scalar_ratios
from .state_passing import ChunkTerms
from .triangular import unit_lower_inverse


def terms(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None) -> ChunkTerms:
    """Compute the terms of a chunk from its tokens.

    q [J, S, H, C, K], k [J, S, H, C, n, K], v [J, S, H, C, n, V], beta [J, S, H, C, n], log_decay [J, S, H, C] or None.
    """
    tokens, writes_a_token = k.shape[3:5]
    k, v, beta = k.flatten(3, 4), v.flatten(3, 4), beta.flatten(3, 4)
    order = torch.arange(tokens * writes_a_token, device=q.device)
    earlier = causal_mask(order, order, q.dtype)
    last = slice(writes_a_token - 1, None, writes_a_token)  # the rows of tokens: each reads all its own writes
    gram, scores = k @ k.mT, q @ k.mT
    if log_decay is None:
        inverse = unit_lower_inverse(beta[..., None] * gram) * beta[..., None, :]
        return ChunkTerms(q, scores * earlier[last], k, None, inverse @ v, inverse @ k, None, None)
    c = cumulative(log_decay)
    c_write = c.repeat_interleave(writes_a_token, dim=3) if writes_a_token > 1 else c
    end = c[..., -1:]
    ratios = scalar_ratios(c_write, c_write, earlier)
    # T diag(beta): scaling the columns of T is half the work of scaling the rows of K and of V.
    inverse = unit_lower_inverse(beta[..., None] * gram * ratios) * beta[..., None, :]
    return ChunkTerms(
        query=q * c.to(q.dtype).exp()[..., None],
        scores=scores * ratios[..., last, :],
        key=k,
        key_weight=(end - c_write).to(q.dtype).exp()[..., None],
        value=inverse @ v,
        erase=(inverse * c_write.to(q.dtype).exp()[..., None, :]) @ k,
        decay=end.to(q.dtype).exp(),
        cumulative=c_write[..., None],
    )
