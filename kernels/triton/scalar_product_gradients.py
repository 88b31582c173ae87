"""The gradients of what the tokens of a row are to each other, from what the pass kept and its adjoint found: a program for each
row, sequence and head. With y = diag(beta) (V - e^c K S) and dy from `scalar_backward`,

    d scores = do v'^T        d (I + A) = -dy v'^T        dv = beta dy        d beta = dy . (V - e^c K S)

A and the scores are products of vectors times e^{c_i - c_j}: each adds what it contributes to dc_i and takes it from dc_j.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .scalar_products import decay_ratio, running_sum


@triton.jit
def scalar_product_gradients(
    key,  # [tokens, H, WRITES, K]
    value,  # [tokens, H, WRITES, V]
    beta,  # [tokens, H, WRITES], float32
    log_decay,  # [tokens, H], float32
    table,  # [J, S, 2], int32: first token and length of each row
    scores,  # [J, S, H, C, M]
    reach,  # [J, S, H, C], float32
    written,  # [J, S, H, M, V], float32
    starts,  # [J, S, H, K, V], float32
    d_output,  # [tokens, H, V], in the dtype of key
    d_solved,  # [J, S, H, M, V], float32: dy
    d_products,  # [J, S, H, C, M], in the dtype of key, and so the next: the gradient of Q K^T
    d_gram,  # [J, S, H, M, M]: that of K K^T
    d_value,  # [tokens, H, WRITES, V], float32, and so all that follow
    d_beta,  # [tokens, H, WRITES]
    d_reads,  # [J, S, H, C]: of c_i, where a token reads
    d_writes,  # [J, S, H, M]: of c_m, where a write erases and is read
    d_erased,  # [J, S, H, M]: of it, where the write erases from the state at the row's start
    H,
    WRITES: tl.constexpr,
    C: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_V: tl.constexpr,
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
    at, holds = token * (H * WRITES) + m % WRITES, token < length
    strength = tl.load(beta + base * WRITES + at, mask=holds, other=0.0) if ERASE else tl.full((BLOCK_M,), 1.0, dtype=tl.float32)
    d_scores = tl.zeros((BLOCK_C, BLOCK_M), dtype=tl.float32)
    d_lower = tl.zeros((BLOCK_M, BLOCK_M), dtype=tl.float32)
    d_strength = tl.zeros((BLOCK_M,), dtype=tl.float32)
    erased = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for block in range(tl.cdiv(V, BLOCK_V)):
        v = block * BLOCK_V + tl.arange(0, BLOCK_V)
        in_v = (v < V)[None, :]
        in_cv, in_vm = (i < length)[:, None] & in_v, (v < V)[:, None] & (m < M)[None, :]
        read = tl.load(d_output + base * V + i[:, None] * (H * V) + v[None, :], mask=in_cv, other=0.0)
        wrote = tl.load(written + n * M * V + m[None, :] * V + v[:, None], mask=in_vm, other=0.0).to(key.dtype.element_ty)
        d_scores += tl.dot(read, wrote, input_precision=PRECISION)
        solved = tl.load(d_solved + n * M * V + m[:, None] * V + v[None, :], mask=(m < M)[:, None] & in_v, other=0.0)
        d_values = solved * strength[:, None]
        tl.store(d_value + base * WRITES * V + at[:, None] * V + v[None, :], d_values, mask=holds[:, None] & in_v)
        if ERASE:
            d_lower -= tl.dot(solved.to(key.dtype.element_ty), wrote, input_precision=PRECISION)
            taken = tl.zeros((BLOCK_M, BLOCK_V), dtype=tl.float32)
            for step in range(0, K, STEP):
                k = step + tl.arange(0, STEP)
                keys = tl.load(
                    key + base * WRITES * K + at[:, None] * K + k[None, :], mask=holds[:, None] & (k < K)[None, :], other=0.0
                )
                state = tl.load(starts + n * K * V + k[:, None] * V + v[None, :], mask=(k < K)[:, None] & in_v, other=0.0)
                taken += tl.dot(keys, state.to(keys.dtype), input_precision=PRECISION)
            if DECAY:
                taken *= tl.load(reach + n * C + token, mask=m < M, other=0.0)[:, None]
            values = tl.load(value + base * WRITES * V + at[:, None] * V + v[None, :], mask=holds[:, None] & in_v, other=0.0)
            d_strength += tl.sum(solved * (values.to(tl.float32) - taken), 1)
            erased -= tl.sum(d_values * taken, 1)
    reads, earlier = token[None, :] <= i[:, None], m[None, :] < m[:, None]
    in_cm, in_mm = (i < C)[:, None] & (m < M)[None, :], (m < M)[:, None] & (m < M)[None, :]
    at_cm, at_mm = (n * C + i[:, None]) * M + m[None, :], (n * M + m[:, None]) * M + m[None, :]
    d_reading = tl.zeros((BLOCK_C,), dtype=tl.float32)
    d_writing = erased
    if DECAY:
        coarse, fine = running_sum(log_decay + base, i * H, i < length)
        coarse_write, fine_write = running_sum(log_decay + base, token * H, holds & (m % WRITES == 0))
        # Products of a token with its own writes know no decay: they would meet their own negative and leave its rounding.
        weights = tl.load(scores + at_cm, mask=in_cm & (token[None, :] < i[:, None]), other=0.0).to(tl.float32)
        d_reading += tl.sum(d_scores * weights, 1)
        d_writing -= tl.sum(d_scores * weights, 0)
        d_scores *= decay_ratio(coarse, fine, coarse_write, fine_write, reads)
    else:
        d_scores = tl.where(reads, d_scores, 0.0)
    tl.store(d_products + at_cm, d_scores.to(key.dtype.element_ty), mask=in_cm)
    if ERASE:
        gram = tl.zeros((BLOCK_M, BLOCK_M), dtype=tl.float32)
        for step in range(0, K, STEP):
            k = step + tl.arange(0, STEP)
            keys = tl.load(
                key + base * WRITES * K + at[:, None] * K + k[None, :], mask=holds[:, None] & (k < K)[None, :], other=0.0
            )
            gram += tl.dot(keys, tl.trans(keys), input_precision=PRECISION)
        d_lower = tl.where(earlier, d_lower, 0.0)
        if DECAY:
            d_lower *= decay_ratio(coarse_write, fine_write, coarse_write, fine_write, earlier)
        d_strength += tl.sum(d_lower * gram, 1)
        d_lower *= strength[:, None]
        if DECAY:
            in_lower = tl.where(token[None, :] < token[:, None], d_lower * gram, 0.0)
            d_writing += tl.sum(in_lower, 1) - tl.sum(in_lower, 0)
        tl.store(d_gram + at_mm, d_lower.to(key.dtype.element_ty), mask=in_mm)
        tl.store(d_beta + base * WRITES + at, d_strength, mask=holds)
    if DECAY:
        tl.store(d_reads + n * C + i, d_reading, mask=i < C)
        tl.store(d_writes + n * M + m, d_writing, mask=m < M)
        tl.store(d_erased + n * M + m, erased, mask=m < M)
