"""Chunk terms of the delta rule with a decay for each key channel (Kimi Delta Attention, arXiv:2510.26692).

    S_t = (I - beta_t k_t k_t^T) Diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T

As in `delta_rule.py`, with the products k_m . k_l e^{c_m - c_l} summed over channels under their own decays (`vector_gram`):

    T = (I + tril(diag(beta) G, -1))^{-1},  G_ml = sum_d k_md k_ld e^{c_md - c_ld}
    value = T diag(beta) V          erase = T diag(beta) (K * e^c)
"""

from __future__ import annotations

import torch
from torch import Tensor

from .decay import cumulative
from .state_passing import ChunkTerms
from .triangular import Inverse, unit_lower_inverse
from .vector_gram import Gram, vector_gram


def terms(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    *,
    inverse_of: Inverse = unit_lower_inverse,
    gram_of: Gram = vector_gram,
) -> ChunkTerms:
    """Compute the terms of a chunk from its tokens.

    q, log_decay [J, S, H, C, K], k [J, S, H, C, n, K], v [J, S, H, C, n, V], beta [J, S, H, C, n].
    """
    tokens, each = k.shape[3:5]
    # A token's keys, and then its query: it reads all that it writes itself.
    gram = gram_of(torch.cat([k, q[..., None, :]], dim=-2), k, log_decay).unflatten(-2, (tokens, each + 1))
    k, v, beta = k.flatten(3, 4), v.flatten(3, 4), beta.flatten(3, 4)[..., None]
    c = cumulative(log_decay)
    end, c_write = c[..., -1:, :], c.repeat_interleave(each, dim=3) if each > 1 else c
    inverse = inverse_of(beta * gram[..., :each, :].flatten(-3, -2))
    return ChunkTerms(
        query=q * c.to(q.dtype).exp(),
        scores=gram[..., each, :],
        key=k,
        key_weight=(end - c_write).to(q.dtype).exp(),
        value=inverse @ (beta * v),
        erase=inverse @ (beta * k * c_write.to(q.dtype).exp()),
        decay=end.squeeze(-2).to(q.dtype).exp(),
        cumulative=c_write,
    )
