"""What the tokens of a row are to each other under one decay for all channels: a program for each row, sequence and head.

With c the running sum of log-decay in the row and t(m) the token of write m,

    scores_im = q_i . k_m e^{c_i - c_m},  t(m) <= i          A = tril(diag(beta) K K^T * Gamma, -1)

and e^{c_i}, e^{c_C - c_i}, with which the pass scales its rows. The pass solves with W = (I + A)^{-1}, `unit_lower_inverse`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def running_sum(log_decay, at, held):
    """c as two float32 that add up to its float64: after many strong gates one rounding of c would be an error of 1e-4 in the
    ratio of two neighbours.
    """
    c = tl.cumsum(tl.load(log_decay + at, mask=held, other=0.0).to(tl.float64), 0)
    coarse = c.to(tl.float32)
    return coarse, (c - coarse.to(tl.float64)).to(tl.float32)


@triton.jit
def decay_ratio(coarse, fine, coarse_write, fine_write, where):
    """Compute the ratios [readers, writes], which are e^{c_i - c_m} where `where`, else 0."""
    spans = (coarse[:, None] - coarse_write[None, :]) + (fine[:, None] - fine_write[None, :])
    return tl.exp(tl.where(where, spans, float("-inf")))


@triton.jit
def scalar_products(
    query,  # [tokens, H, K]
    key,  # [tokens, H, WRITES, K]
    beta,  # [tokens, H, WRITES], float32
    log_decay,  # [tokens, H], float32
    table,  # [J, S, 2], int32: first token and length of each row
    scores,  # [J, S, H, C, M], in the dtype of query
    lower,  # [J, S, H, M, M], float32
    reach,  # [J, S, H, C], float32: e^{c_i}
    left,  # [J, S, H, C], float32: e^{c_C - c_i}
    H,
    WRITES: tl.constexpr,  # keys a token
    C: tl.constexpr,
    M: tl.constexpr,  # C * WRITES
    K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    STEP: tl.constexpr,  # channels that a product sums at a time
    ERASE: tl.constexpr,
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    place, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, length = tl.load(table + 2 * place).to(tl.int64), tl.load(table + 2 * place + 1)
    n, base = place * H + h, start * H + h
    i, m = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M)
    token = m // WRITES
    at = token * (H * WRITES) + m % WRITES
    weights = tl.zeros((BLOCK_C, BLOCK_M), dtype=tl.float32)
    below = tl.zeros((BLOCK_M, BLOCK_M), dtype=tl.float32)
    for step in range(0, K, STEP):
        k = step + tl.arange(0, STEP)
        in_k, in_mk = (k < K)[None, :], (token < length)[:, None] & (k < K)[None, :]
        keys = tl.load(key + base * WRITES * K + at[:, None] * K + k[None, :], mask=in_mk, other=0.0)
        in_ck = (i < length)[:, None] & in_k
        queries = tl.load(query + base * K + i[:, None] * (H * K) + k[None, :], mask=in_ck, other=0.0)
        weights += tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        if ERASE:
            below += tl.dot(keys, tl.trans(keys), input_precision=PRECISION)
    reads = token[None, :] <= i[:, None]
    ratio = reads.to(tl.float32)
    if DECAY:
        in_row = i < length
        coarse, fine = running_sum(log_decay + base, i * H, in_row)
        coarse_write, fine_write = running_sum(log_decay + base, token * H, (token < length) & (m % WRITES == 0))
        ratio = decay_ratio(coarse, fine, coarse_write, fine_write, reads)
        gates = tl.load(log_decay + base + i * H, mask=in_row, other=0.0).to(tl.float64)
        c = tl.cumsum(gates, 0)
        tl.store(reach + n * C + i, tl.exp(c.to(tl.float32)), mask=i < C)
        tl.store(left + n * C + i, tl.exp((tl.sum(gates, 0) - c).to(tl.float32)), mask=i < C)
    weights *= ratio
    in_cm = (i < C)[:, None] & (m < M)[None, :]
    tl.store(scores + (n * C + i[:, None]) * M + m[None, :], weights.to(query.dtype.element_ty), mask=in_cm)
    if ERASE:
        earlier = m[None, :] < m[:, None]
        strength = tl.load(beta + base * WRITES + at, mask=token < length, other=0.0)
        below *= strength[:, None]
        if DECAY:
            below *= decay_ratio(coarse_write, fine_write, coarse_write, fine_write, earlier)
        in_mm = (m < M)[:, None] & (m < M)[None, :]
        tl.store(lower + (n * M + m[:, None]) * M + m[None, :], tl.where(earlier, below, 0.0), mask=in_mm)
