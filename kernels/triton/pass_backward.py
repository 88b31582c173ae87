"""The adjoint of the pass, from the last row to the first; the equations stand in `chunked/pass_rows.py`.

It finds what depends on the order of rows: the gradient of the state behind each row and of what each row wrote. The gradients
of query, scores, key, erase and decay are products of these with what the forward pass kept, for all rows at once.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pass_backward(
    query,  # [J, N, C, K]
    scores,  # [J, N, C, M]
    key,  # [J, N, M, K]
    erase,  # [J, N, M, K]
    decay,  # [J, N, K], float32
    d_output,  # [J, N, C, V], in the dtype of query
    d_written,  # [J, N, M, V], float32
    d_starts,  # [J, N, K, V], float32
    d_final,  # [N, K, V], float32
    d_value,  # [J, N, M, V], float32: the result for what each row wrote
    d_behind,  # [J, N, K, V], float32: the result for the state behind each row
    d_state,  # [N, K, V], float32
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
    WRITTEN: tl.constexpr,  # whether d_written is given
    STARTS: tl.constexpr,  # whether d_starts is given
    PRECISION: tl.constexpr,
):
    n = tl.program_id(1).to(tl.int64)
    c, m, k = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    v = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    in_kv = (k < K)[:, None] & (v < V)[None, :]
    in_mk = (m < M)[:, None] & (k < K)[None, :]
    in_mv = (m < M)[:, None] & (v < V)[None, :]
    in_kc = (k < K)[:, None] & (c < C)[None, :]
    in_mc = (m < M)[:, None] & (c < C)[None, :]
    in_cv = (c < C)[:, None] & (v < V)[None, :]
    at_kv = k[:, None] * V + v[None, :]
    at_mv = m[:, None] * V + v[None, :]
    behind = tl.load(d_final + n * K * V + at_kv, mask=in_kv, other=0.0)
    for back in range(J):
        j = J - 1 - back
        row = j * N + n
        tl.store(d_behind + row * K * V + at_kv, behind, mask=in_kv)
        read = tl.load(d_output + row * C * V + c[:, None] * V + v[None, :], mask=in_cv, other=0.0)
        keys = tl.load(key + row * M * K + m[:, None] * K + k[None, :], mask=in_mk, other=0.0)
        weights = tl.load(scores + row * C * M + c[None, :] * M + m[:, None], mask=in_mc, other=0.0)
        wrote = tl.dot(weights, read, input_precision=PRECISION)
        wrote += tl.dot(keys, behind.to(keys.dtype), input_precision=PRECISION)
        if WRITTEN:
            wrote += tl.load(d_written + row * M * V + at_mv, mask=in_mv, other=0.0)
        tl.store(d_value + row * M * V + at_mv, wrote, mask=in_mv)
        behind *= tl.load(decay + row * K + k, mask=k < K, other=0.0)[:, None]
        queries = tl.load(query + row * C * K + c[None, :] * K + k[:, None], mask=in_kc, other=0.0)
        behind += tl.dot(queries, read, input_precision=PRECISION)
        if ERASE:
            taken = tl.load(erase + row * M * K + m[None, :] * K + k[:, None], mask=tl.trans(in_mk), other=0.0)
            behind -= tl.dot(taken, wrote.to(keys.dtype), input_precision=PRECISION)
        if STARTS:
            behind += tl.load(d_starts + row * K * V + at_kv, mask=in_kv, other=0.0)
    tl.store(d_state + n * K * V + at_kv, behind, mask=in_kv)
