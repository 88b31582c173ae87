"""Chunk terms of a transition that is diagonal plus rank one (RWKV-7, arXiv:2503.14456, and the generic form).

    S_t = (Diag(e^{g_t}) + b_t a_t^T) S_{t-1} + k_t v_t^T

A token writes twice: u_t = S_{t-1}^T a_t along b_t, and v_t along k_t. What it reads to write, a_t, meets the state before its
own decay, so the products of a_t run with the cumulative decay of the token before, c_{t-1}:

    A_tj = sum_d a_td b_jd e^{c_{t-1,d} - c_jd},  D_tj = sum_d a_td k_jd e^{c_{t-1,d} - c_jd}   for j < t
    u = (I - A)^{-1} (D V + (A_read) S),   A_read_t = a_t e^{c_{t-1}}

As a shift by one row they are `vector_gram`s of a_{t+1} with b_t and k_t. The rows of ChunkTerms hold (b_t, u_t) and
(k_t, v_t) in turn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .decay import cumulative
from .shift import rows_down, tokens_up
from .state_passing import ChunkTerms
from .triangular import Inverse, unit_lower_inverse
from .vector_gram import Gram, vector_gram


def terms(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    log_decay: Tensor,
    *,
    inverse_of: Inverse = unit_lower_inverse,
    gram_of: Gram = vector_gram,
) -> ChunkTerms:
    """Compute the terms of a chunk from its tokens.

    q, k, a, b, log_decay [J, S, H, C, K], v [J, S, H, C, V].
    """
    c = cumulative(log_decay)
    end, before = c[..., -1:, :], c - log_decay.to(c.dtype)
    written = torch.stack([b, k], dim=-2)
    gram = gram_of(torch.stack([tokens_up(a), q], dim=-2), written, log_decay).unflatten(-2, (-1, 2))
    from_b, from_k = rows_down(gram[..., 0, :]).unflatten(-1, (-1, 2)).unbind(-1)
    inverse = inverse_of(-from_b)
    erase = inverse @ (a * before.to(a.dtype).exp())
    c_write = c.repeat_interleave(2, dim=3)
    return ChunkTerms(
        query=q * c.to(q.dtype).exp(),
        scores=gram[..., 1, :],
        key=written.flatten(-3, -2),
        key_weight=(end - c_write).to(q.dtype).exp(),
        value=_in_turn(inverse @ (from_k @ v), v),
        erase=_in_turn(-erase, torch.zeros_like(erase)),
        decay=end.squeeze(-2).to(q.dtype).exp(),
        cumulative=c_write,
    )


def _in_turn(first: Tensor, second: Tensor) -> Tensor:
    """[..., C, X] twice as [..., 2 C, X]: first_1, second_1, first_2, ..."""
    return torch.stack([first, second], dim=-2).flatten(-3, -2)
