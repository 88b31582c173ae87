"""Products of the vectors of a row under a decay for each channel, G_ij = sum_d left_id right_jd e^{c_id - c_jd} for j <= i: a
program for each row of tokens, sequence and head.

A pair of tokens i > j belongs to the highest bit in which their places differ: i has it and j has not. Around the first token f
of i's half, e^{c_i - c_f} e^{c_f - c_j}, both factors are at most 1 under any decay, and neither sees a token after i. So a row
of 2^n tokens is n masked products, and one of each token with itself.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def span(coarse, fine, token, anchor, k, inside, K: tl.constexpr):
    """e^{c_token - c_anchor} [tokens, channels] where inside, else 0. c is the sum of two float32."""
    held = inside[:, None] & (k < K)[None, :]
    late, early = token[:, None] * K + k[None, :], anchor[:, None] * K + k[None, :]
    between = tl.load(coarse + late, mask=held, other=0.0) - tl.load(coarse + early, mask=held, other=0.0)
    between += tl.load(fine + late, mask=held, other=0.0) - tl.load(fine + early, mask=held, other=0.0)
    return tl.exp(tl.where(held, between, float("-inf")))


@triton.jit
def channel_gram(
    left,  # [N, C, P, K]
    right,  # [N, C, R, K]
    coarse,  # [N, C, K], float32: c, rounded
    fine,  # [N, C, K], float32: and what that left
    gram,  # [N, C, P, C, R], float32
    C,
    P: tl.constexpr,  # vectors a token on the left: a program for each with each on the right
    R: tl.constexpr,
    K: tl.constexpr,
    LEVELS: tl.constexpr,  # bits of a token's place
    BLOCK: tl.constexpr,  # at least C
    STEP: tl.constexpr,  # channels that a product sums at a time
    PRECISION: tl.constexpr,
):
    n, p, r = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    i = tl.arange(0, BLOCK)
    coarse += n * C * K
    fine += n * C * K
    left += (n * C * P + p) * K
    right += (n * C * R + r) * K
    found = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for level in range(-1, LEVELS):
        half = tl.maximum(level, 0)
        # Level -1 is each token with itself: every factor is 1.
        first = tl.where(level < 0, i, (i >> half) << half)
        meeting = tl.where(level < 0, i, ((i >> half) | 1) << half)
        reads = (i < C) & ((level < 0) | (((i >> half) & 1) == 1))
        written = (meeting < C) & ((level < 0) | (((i >> half) & 1) == 0))
        part = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
        for step in range(0, K, STEP):
            k = step + tl.arange(0, STEP)
            in_k = (k < K)[None, :]
            a = tl.load(left + i[:, None] * (P * K) + k[None, :], mask=reads[:, None] & in_k, other=0.0)
            b = tl.load(right + i[:, None] * (R * K) + k[None, :], mask=written[:, None] & in_k, other=0.0)
            a *= span(coarse, fine, i, first, k, reads, K)
            b *= span(coarse, fine, meeting, i, k, written, K)
            part += tl.dot(a, tl.trans(b), input_precision=PRECISION)
        found += tl.where(first[:, None] == meeting[None, :], part, 0.0)
    at = ((n * C + i[:, None]) * P + p) * (C * R) + i[None, :] * R + r
    tl.store(gram + at, found, mask=(i < C)[:, None] & (i < C)[None, :])
