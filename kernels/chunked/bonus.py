"""Chunk terms of gated linear attention that reads before it writes, with a bonus for the token itself (RWKV-6).

    o_t = S_{t-1}^T q_t + (q_t . u k_t) v_t,     S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T

The state is that of `gated_linear_attention.py`. What a token reads is decayed up to the token before, so the scores are one
row down from the products of q_{t+1} with k_j, and their diagonal is the bonus.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import gated_linear_attention
from .decay import cumulative
from .shift import rows_down, tokens_up
from .state_passing import ChunkTerms
from .vector_gram import Gram, vector_gram


def terms(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor, *, gram_of: Gram = vector_gram) -> ChunkTerms:
    """Compute the terms of a chunk from its tokens.

    q, k, log_decay, bonus [J, S, H, C, K], v [J, S, H, C, V].
    """
    c = cumulative(log_decay)
    before = (c - log_decay.to(c.dtype)).to(q.dtype)
    own = torch.diag_embed((q * bonus * k).sum(-1))
    scores = rows_down(gram_of(tokens_up(q)[..., None, :], k[..., None, :], log_decay)) + own
    return replace(gated_linear_attention.with_scores(scores, q, k, v, log_decay), query=q * before.exp())
