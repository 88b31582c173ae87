"""The adjoint of `scalar_forward`, from the last row to the first. With G the gradient of the state behind a row,

    dv' = scores^T do + e^{c_C - c} K G          dy = W^T dv'          (y = diag(beta) (V - e^c K S))
    G  <- e^{c_C} G + (e^c Q)^T do - (e^c K)^T diag(beta) dy

It finds what depends on the order of rows, dy and G; `scalar_gradients` makes the gradients of the tokens from them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scalar_backward(
    query,  # [tokens, H, K]
    key,  # [tokens, H, WRITES, K]
    beta,  # [tokens, H, WRITES], float32
    table,  # [J, S, 2], int32: first token and length of each row
    scores,  # [J, S, H, C, M]
    inverse,  # [J, S, H, M, M]
    reach,  # [J, S, H, C], float32
    left,  # [J, S, H, C], float32
    d_output,  # [tokens, H, V], in the dtype of query
    d_written,  # [J, S, H, M, V], float32
    d_starts,  # [J, S, H, K, V], float32
    d_final,  # [S, H, K, V], float32
    d_solved,  # [J, S, H, M, V], float32: the result dy
    behind,  # [J, S, H, K, V], float32: the result G
    d_state,  # [S, H, K, V], float32
    first,
    stop,
    S,
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
    ERASE: tl.constexpr,
    DECAY: tl.constexpr,
    TAPPED: tl.constexpr,  # whether d_written and d_starts are given
    PRECISION: tl.constexpr,
):
    s, h = tl.program_id(1).to(tl.int64), tl.program_id(2)
    i, m, k = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    v = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    token = m // WRITES
    at, at_token = token * (H * WRITES) + m % WRITES, i * H  # from the row's first token and this head
    in_kv = (k < K)[:, None] & (v < V)[None, :]
    in_mv = (m < M)[:, None] & (v < V)[None, :]
    at_kv, at_mv = k[:, None] * V + v[None, :], m[:, None] * V + v[None, :]
    held = tl.load(d_final + (s * H + h) * K * V + at_kv, mask=in_kv, other=0.0)
    for back in range(stop - first):
        j = stop - 1 - back
        n = (j * S + s) * H + h
        start, length = tl.load(table + 2 * (j * S + s)).to(tl.int64), tl.load(table + 2 * (j * S + s) + 1)
        base = start * H + h
        tl.store(behind + n * K * V + at_kv, held, mask=in_kv)
        holds = token < length
        in_cv = (i < length)[:, None] & (v < V)[None, :]
        read = tl.load(d_output + base * V + at_token[:, None] * V + v[None, :], mask=in_cv, other=0.0)
        keys = tl.load(key + base * WRITES * K + at[:, None] * K + k[None, :], mask=holds[:, None] & (k < K)[None, :], other=0.0)
        wrote = tl.dot(keys, held.to(keys.dtype), input_precision=PRECISION)
        if DECAY:
            wrote *= tl.load(left + n * C + token, mask=m < M, other=0.0)[:, None]
        in_mc = (m < M)[:, None] & (i < C)[None, :]
        weights = tl.load(scores + (n * C + i[None, :]) * M + m[:, None], mask=in_mc, other=0.0)
        wrote += tl.dot(weights, read, input_precision=PRECISION)
        if TAPPED:
            wrote += tl.load(d_written + n * M * V + at_mv, mask=in_mv, other=0.0)
        if ERASE:
            in_mm = (m < M)[:, None] & (m < M)[None, :]
            solve = tl.load(inverse + (n * M + m[None, :]) * M + m[:, None], mask=in_mm, other=0.0)
            wrote = tl.dot(solve, wrote.to(keys.dtype), input_precision=PRECISION)
        tl.store(d_solved + n * M * V + at_mv, wrote, mask=in_mv)
        in_kc = (k < K)[:, None] & (i < length)[None, :]
        queries = tl.load(query + base * K + at_token[None, :] * K + k[:, None], mask=in_kc, other=0.0)
        scaled = read.to(tl.float32)
        if DECAY:
            held *= tl.load(reach + n * C + C - 1)
            scaled *= tl.load(reach + n * C + i, mask=i < C, other=0.0)[:, None]
        held += tl.dot(queries, scaled.to(keys.dtype), input_precision=PRECISION)
        if ERASE:
            wrote *= tl.load(beta + base * WRITES + at, mask=holds, other=0.0)[:, None]
            if DECAY:
                wrote *= tl.load(reach + n * C + token, mask=m < M, other=0.0)[:, None]
            held -= tl.dot(tl.trans(keys), wrote.to(keys.dtype), input_precision=PRECISION)
        if TAPPED:
            held += tl.load(d_starts + n * K * V + at_kv, mask=in_kv, other=0.0)
    tl.store(d_state + (s * H + h) * K * V + at_kv, held, mask=in_kv)
