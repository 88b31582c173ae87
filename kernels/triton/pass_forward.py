"""The pass of the state over rows under a decay for each channel, the three equations of `state_passing`: one program for each
sequence, head and block of values.

A program keeps its [K, block of V] of the state in registers, in float32, from the first row to the last. Per token and head it
moves (2 K + 2 M/C (K + V) + C + V) elements of storage and, where states are kept, K V / C more.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pass_forward(
    query,  # [J, N, C, K] with N = sequences x heads
    scores,  # [J, N, C, M]
    key,  # [J, N, M, K]
    value,  # [J, N, M, V]
    erase,  # [J, N, M, K]
    decay,  # [J, N, K], float32
    state,  # [N, K, V], float32
    slots,  # [J], int32: where to keep the state at the row's start, or -1
    output,  # [J, N, C, V], float32
    written,  # [J, N, M, V], float32
    starts,  # [slots, N, K, V], float32
    final,  # [N, K, V], float32
    J,
    N,
    C: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
    ERASE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    n = tl.program_id(1).to(tl.int64)
    c, m, k = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    v = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    in_kv = (k < K)[:, None] & (v < V)[None, :]
    in_mk = (m < M)[:, None] & (k < K)[None, :]
    in_mv = (m < M)[:, None] & (v < V)[None, :]
    in_ck = (c < C)[:, None] & (k < K)[None, :]
    in_cm = (c < C)[:, None] & (m < M)[None, :]
    in_cv = (c < C)[:, None] & (v < V)[None, :]
    at_kv = k[:, None] * V + v[None, :]
    held = tl.load(state + n * K * V + at_kv, mask=in_kv, other=0.0)
    for j in range(J):
        row = j * N + n
        slot = tl.load(slots + j)
        if slot >= 0:
            tl.store(starts + (slot * N + n) * K * V + at_kv, held, mask=in_kv)
        keys = tl.load(key + row * M * K + m[None, :] * K + k[:, None], mask=tl.trans(in_mk), other=0.0)
        values = tl.load(value + row * M * V + m[:, None] * V + v[None, :], mask=in_mv, other=0.0).to(tl.float32)
        before = held.to(keys.dtype)
        if ERASE:
            taken = tl.load(erase + row * M * K + m[:, None] * K + k[None, :], mask=in_mk, other=0.0)
            values -= tl.dot(taken, before, input_precision=PRECISION)
        tl.store(written + row * M * V + m[:, None] * V + v[None, :], values, mask=in_mv)
        wrote = values.to(keys.dtype)
        queries = tl.load(query + row * C * K + c[:, None] * K + k[None, :], mask=in_ck, other=0.0)
        read = tl.dot(queries, before, input_precision=PRECISION)
        weights = tl.load(scores + row * C * M + c[:, None] * M + m[None, :], mask=in_cm, other=0.0)
        read += tl.dot(weights, wrote, input_precision=PRECISION)
        tl.store(output + row * C * V + c[:, None] * V + v[None, :], read, mask=in_cv)
        held *= tl.load(decay + row * K + k, mask=k < K, other=0.0)[:, None]
        held += tl.dot(keys, wrote, input_precision=PRECISION)
    tl.store(final + n * K * V + at_kv, held, mask=in_kv)
