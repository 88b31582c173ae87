"""The gradient of `channel_gram` for the vectors of one side, from products of one token with another: a program for each row of
tokens, sequence and head, block of channels, and vector a token.

    d left_i = sum_{j < i} dG_ij right_j e^{c_i - c_j}          d right_j = sum_{i > j} dG_ij left_i e^{c_i - c_j}

Products of a token with itself, which know no decay, are left to the caller.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .channel_gram import span


@triton.jit
def channel_gram_backward(
    other,  # [N, C, P|R, K]: the vectors of the other side
    coarse,  # [N, C, K], float32
    fine,  # [N, C, K], float32
    d_gram,  # [N, C, P, C, R], float32
    d_own,  # [N, C, R|P, K], float32
    C,
    P: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
    LEVELS: tl.constexpr,
    LEFT: tl.constexpr,  # whether the gradient is that of the left
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,  # channels a program
    PRECISION: tl.constexpr,
):
    n, own = tl.program_id(0).to(tl.int64), tl.program_id(2)
    OWN: tl.constexpr = P if LEFT else R
    OTHERS: tl.constexpr = R if LEFT else P
    t = tl.arange(0, BLOCK)
    k = tl.program_id(1) * STEP + tl.arange(0, STEP)
    in_k = (k < K)[None, :]
    coarse += n * C * K
    fine += n * C * K
    other += n * C * OTHERS * K
    d_gram += n * C * P * C * R
    found = tl.zeros((BLOCK, STEP), dtype=tl.float32)
    for level in range(LEVELS):
        first, meeting = (t >> level) << level, ((t >> level) | 1) << level
        reads = (t < C) & (((t >> level) & 1) == 1)
        written = (meeting < C) & (((t >> level) & 1) == 0)
        down, up = span(coarse, fine, t, first, k, reads, K), span(coarse, fine, meeting, t, k, written, K)
        part = tl.zeros((BLOCK, STEP), dtype=tl.float32)
        for x in range(OTHERS):
            at = other + (t[:, None] * OTHERS + x) * K + k[None, :]
            if LEFT:
                vectors = tl.load(at, mask=written[:, None] & in_k, other=0.0) * up
                pairs = reads[:, None] & written[None, :] & (first[:, None] == meeting[None, :])
                pull = tl.load(d_gram + (t[:, None] * P + own) * (C * R) + t[None, :] * R + x, mask=pairs, other=0.0)
            else:
                vectors = tl.load(at, mask=reads[:, None] & in_k, other=0.0) * down
                pairs = written[:, None] & reads[None, :] & (first[None, :] == meeting[:, None])
                pull = tl.load(d_gram + (t[None, :] * P + x) * (C * R) + t[:, None] * R + own, mask=pairs, other=0.0)
            part += tl.dot(pull, vectors, input_precision=PRECISION)
        found += part * (down if LEFT else up)
    tl.store(d_own + ((n * C + t[:, None]) * OWN + own) * K + k[None, :], found, mask=(t < C)[:, None] & in_k)
