"""The gradients of queries and keys, from the adjoint of the pass and from `scalar_product_gradients`: a program for each row,
sequence and head. With S the state at the row's start and G the gradient of the one behind it,

    dQ = e^c (do S^T) + d(Q K^T) K
    dK = e^{c_C - c} (v' G^T) - e^c (beta dy) S^T + d(Q K^T)^T Q + (d(K K^T) + d(K K^T)^T) K
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scalar_token_gradients(
    query,  # [tokens, H, K]
    key,  # [tokens, H, WRITES, K]
    beta,  # [tokens, H, WRITES], float32
    table,  # [J, S, 2], int32: first token and length of each row
    reach,  # [J, S, H, C], float32
    left,  # [J, S, H, C], float32
    written,  # [J, S, H, M, V], float32
    starts,  # [J, S, H, K, V], float32
    d_output,  # [tokens, H, V], in the dtype of query
    d_solved,  # [J, S, H, M, V], float32: dy
    behind,  # [J, S, H, K, V], float32: G
    d_products,  # [J, S, H, C, M], in the dtype of query
    d_gram,  # [J, S, H, M, M], in the dtype of query
    d_erased,  # [J, S, H, M], float32
    d_query,  # [tokens, H, K], float32, and so all results
    d_key,  # [tokens, H, WRITES, K]
    d_reads,  # [J, S, H, C]: of c_i, where a token reads the state at the row's start
    d_carried,  # [J, S, H, M]: of c_C - c_m, over which a write is carried
    d_through,  # [J, S, H]: of c_C, over which the state is
    H,
    WRITES: tl.constexpr,
    C: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
    STEP: tl.constexpr,  # tokens or writes that a product sums at a time
    ERASE: tl.constexpr,
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    place, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, length = tl.load(table + 2 * place).to(tl.int64), tl.load(table + 2 * place + 1)
    n, base = place * H + h, start * H + h
    i, m, k = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    token = m // WRITES
    at, at_token = token * (H * WRITES) + m % WRITES, i * H
    in_ck, in_mk = (i < length)[:, None] & (k < K)[None, :], (token < length)[:, None] & (k < K)[None, :]
    to_end = tl.full((BLOCK_M,), 1.0, dtype=tl.float32)
    taking = to_end
    if ERASE:
        taking = tl.load(beta + base * WRITES + at, mask=token < length, other=0.0)
    if DECAY:
        to_end = tl.load(left + n * C + token, mask=m < M, other=0.0)
        taking *= tl.load(reach + n * C + token, mask=m < M, other=0.0)
    d_queries = tl.zeros((BLOCK_C, BLOCK_K), dtype=tl.float32)
    d_keys = tl.zeros((BLOCK_M, BLOCK_K), dtype=tl.float32)
    through = tl.zeros((BLOCK_K,), dtype=tl.float32)
    for block in range(tl.cdiv(V, BLOCK_V)):
        v = block * BLOCK_V + tl.arange(0, BLOCK_V)
        in_vk = (v < V)[:, None] & (k < K)[None, :]
        in_cv, in_mv = (i < length)[:, None] & (v < V)[None, :], (m < M)[:, None] & (v < V)[None, :]
        state = tl.load(starts + n * K * V + k[None, :] * V + v[:, None], mask=in_vk, other=0.0)
        pull = tl.load(behind + n * K * V + k[None, :] * V + v[:, None], mask=in_vk, other=0.0)
        if DECAY:
            through += tl.sum(state * pull, 0)
        read = tl.load(d_output + base * V + at_token[:, None] * V + v[None, :], mask=in_cv, other=0.0)
        d_queries += tl.dot(read, state.to(read.dtype), input_precision=PRECISION)
        wrote = tl.load(written + n * M * V + m[:, None] * V + v[None, :], mask=in_mv, other=0.0) * to_end[:, None]
        d_keys += tl.dot(wrote.to(read.dtype), pull.to(read.dtype), input_precision=PRECISION)
        if ERASE:
            solved = tl.load(d_solved + n * M * V + m[:, None] * V + v[None, :], mask=in_mv, other=0.0) * taking[:, None]
            d_keys -= tl.dot(solved.to(read.dtype), state.to(read.dtype), input_precision=PRECISION)
    if DECAY:
        keys = tl.load(key + base * WRITES * K + at[:, None] * K + k[None, :], mask=in_mk, other=0.0)
        queries = tl.load(query + base * K + at_token[:, None] * K + k[None, :], mask=in_ck, other=0.0)
        d_queries *= tl.load(reach + n * C + i, mask=i < C, other=0.0)[:, None]
        tl.store(d_reads + n * C + i, tl.sum(d_queries * queries.to(tl.float32), 1), mask=i < C)
        # A key as written carries e^{c_C - c} and as it erases e^c: of both in d_keys . key, `d_erased` is the second.
        erased = tl.load(d_erased + n * M + m, mask=m < M, other=0.0)
        tl.store(d_carried + n * M + m, tl.sum(d_keys * keys.to(tl.float32), 1) - erased, mask=m < M)
        tl.store(d_through + n, tl.sum(through, 0) * tl.load(reach + n * C + C - 1))
    for step in range(0, M, STEP):
        w = step + tl.arange(0, STEP)
        of = w // WRITES * (H * WRITES) + w % WRITES
        in_wk = (w // WRITES < length)[:, None] & (k < K)[None, :]
        against = tl.load(key + base * WRITES * K + of[:, None] * K + k[None, :], mask=in_wk, other=0.0)
        in_cw = (i < C)[:, None] & (w < M)[None, :]
        products = tl.load(d_products + (n * C + i[:, None]) * M + w[None, :], mask=in_cw, other=0.0)
        d_queries += tl.dot(products, against, input_precision=PRECISION)
        if ERASE:
            in_mw = (m < M)[:, None] & (w < M)[None, :]
            gram = tl.load(d_gram + (n * M + m[:, None]) * M + w[None, :], mask=in_mw, other=0.0).to(tl.float32)
            gram += tl.load(d_gram + (n * M + w[None, :]) * M + m[:, None], mask=in_mw, other=0.0)
            d_keys += tl.dot(gram.to(against.dtype), against, input_precision=PRECISION)
    tl.store(d_query + base * K + at_token[:, None] * K + k[None, :], d_queries, mask=in_ck)
    for step in range(0, C, STEP):
        r = step + tl.arange(0, STEP)
        in_rk, in_mr = (r < length)[:, None] & (k < K)[None, :], (m < M)[:, None] & (r < C)[None, :]
        readers = tl.load(query + base * K + r[:, None] * (H * K) + k[None, :], mask=in_rk, other=0.0)
        of_readers = tl.load(d_products + (n * C + r[None, :]) * M + m[:, None], mask=in_mr, other=0.0)
        d_keys += tl.dot(of_readers, readers, input_precision=PRECISION)
    tl.store(d_key + base * WRITES * K + at[:, None] * K + k[None, :], d_keys, mask=in_mk)
