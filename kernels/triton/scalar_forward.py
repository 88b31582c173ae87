"""The pass of the state over rows under one decay for all channels, with what it writes made on the way.

    v' = W diag(beta) (V - e^c K S)        o = e^c Q S + scores v'        S <- e^{c_C} S + (e^{c_C - c} K)^T v'

One program for each sequence, head and block of values keeps its [K, block] of the state in registers, in float32. It reads the
tokens where they lie; of what rows are to themselves it reads scores and W. Per token and head it moves 2 K + 2 V + C + M C
/ tokens elements, and K V / C more where states are kept.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scalar_forward(
    query,  # [tokens, H, K]
    key,  # [tokens, H, WRITES, K]
    value,  # [tokens, H, WRITES, V]
    beta,  # [tokens, H, WRITES], float32
    table,  # [J, S, 2], int32: first token and length of each row
    scores,  # [J, S, H, C, M]
    inverse,  # [J, S, H, M, M]
    reach,  # [J, S, H, C], float32
    left,  # [J, S, H, C], float32
    slots,  # [J], int32: where to keep what a row starts from and writes, or -1
    state,  # [S, H, K, V], float32
    output,  # [tokens, H, V], in the dtype of the values that were given
    written,  # [slots, S, H, M, V], float32
    starts,  # [slots, S, H, K, V], float32
    final,  # [S, H, K, V], float32
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
    PRECISION: tl.constexpr,
):
    s, h = tl.program_id(1).to(tl.int64), tl.program_id(2)
    i, m, k = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    v = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    token = m // WRITES
    at, at_token = token * (H * WRITES) + m % WRITES, i * H  # from the row's first token and this head
    in_kv = (k < K)[:, None] & (v < V)[None, :]
    at_kv = (s * H + h) * K * V + k[:, None] * V + v[None, :]
    held = tl.load(state + at_kv, mask=in_kv, other=0.0)
    for j in range(first, stop):
        n = (j * S + s) * H + h
        start, length = tl.load(table + 2 * (j * S + s)).to(tl.int64), tl.load(table + 2 * (j * S + s) + 1)
        base = start * H + h
        slot = tl.load(slots + j).to(tl.int64)
        kept = (slot * S + s) * H + h
        if slot >= 0:
            tl.store(starts + kept * K * V + k[:, None] * V + v[None, :], held, mask=in_kv)
        holds = token < length
        in_mv = holds[:, None] & (v < V)[None, :]
        keys = tl.load(key + base * WRITES * K + at[:, None] * K + k[None, :], mask=holds[:, None] & (k < K)[None, :], other=0.0)
        values = tl.load(value + base * WRITES * V + at[:, None] * V + v[None, :], mask=in_mv, other=0.0).to(tl.float32)
        before = held.to(keys.dtype)
        if ERASE:
            taken = tl.dot(keys, before, input_precision=PRECISION)
            if DECAY:
                taken *= tl.load(reach + n * C + token, mask=m < M, other=0.0)[:, None]
            values = (values - taken) * tl.load(beta + base * WRITES + at, mask=holds, other=0.0)[:, None]
            in_mm = (m < M)[:, None] & (m < M)[None, :]
            solve = tl.load(inverse + (n * M + m[:, None]) * M + m[None, :], mask=in_mm, other=0.0)
            values = tl.dot(solve, values.to(keys.dtype), input_precision=PRECISION)
        if slot >= 0:
            in_rows = (m < M)[:, None] & (v < V)[None, :]
            tl.store(written + kept * M * V + m[:, None] * V + v[None, :], values, mask=in_rows)
        queries = tl.load(
            query + base * K + at_token[:, None] * K + k[None, :], mask=(i < length)[:, None] & (k < K)[None, :], other=0.0
        )
        read = tl.dot(queries, before, input_precision=PRECISION)
        if DECAY:
            read *= tl.load(reach + n * C + i, mask=i < C, other=0.0)[:, None]
        in_cm = (i < C)[:, None] & (m < M)[None, :]
        weights = tl.load(scores + (n * C + i[:, None]) * M + m[None, :], mask=in_cm, other=0.0)
        read += tl.dot(weights, values.to(keys.dtype), input_precision=PRECISION)
        tl.store(
            output + base * V + at_token[:, None] * V + v[None, :],
            read.to(output.dtype.element_ty),
            mask=(i < length)[:, None] & (v < V)[None, :],
        )
        if DECAY:
            held *= tl.load(reach + n * C + C - 1)
            values *= tl.load(left + n * C + token, mask=m < M, other=0.0)[:, None]
        held += tl.dot(tl.trans(keys), values.to(keys.dtype), input_precision=PRECISION)
    tl.store(final + at_kv, held, mask=in_kv)
