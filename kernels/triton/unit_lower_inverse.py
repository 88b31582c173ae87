"""(I + A)^{-1} for strictly lower-triangular A: one program a matrix, the inverse X in registers.

Blocks of up to 32 rows by forward substitution, X_i = e_i - sum_{j < i} A_ij X_j; of two blocks, what lies below the first is
then -X_22 A_21 X_11. (Doubling the whole, a Neumann series, loses all digits on correlated keys.)
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def substitute(lower, count, M, SIZE: tl.constexpr):
    """The inverse [SIZE, SIZE] of the block of `count` rows at which `lower` points, in a matrix of M columns."""
    rows = tl.arange(0, SIZE)
    unit = (rows[:, None] == rows[None, :]).to(tl.float32)
    held = unit
    for i in range(1, count):
        known = tl.load(lower + i * M + rows, mask=rows < i, other=0.0)
        row = tl.sum(known[:, None] * held, axis=0)
        held = tl.where(rows[:, None] == i, unit - row[None, :], held)
    return held


@triton.jit
def unit_lower_inverse(
    lower,  # [N, M, M], float32; only what lies strictly below the diagonal is read
    inverse,  # [N, M, M]
    M,
    BLOCK: tl.constexpr,  # 16, 32 or 64
):
    n = tl.program_id(0).to(tl.int64)
    SIZE: tl.constexpr = min(BLOCK, 32)
    own, out = lower + n * M * M, inverse + n * M * M
    rows, columns = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    count = min(M, SIZE)
    first = substitute(own, count, M, SIZE)
    tl.store(out + rows * M + columns, first.to(inverse.dtype.element_ty), mask=(rows < M) & (columns < M))
    if BLOCK > SIZE:
        behind = M - SIZE
        second = substitute(own + SIZE * M + SIZE, behind, M, SIZE)
        corner = tl.load(own + (SIZE + rows) * M + columns, mask=rows < behind, other=0.0)
        corner = tl.dot(second, tl.dot(corner, first, input_precision="tf32x3"), input_precision="tf32x3")
        at = out + (SIZE + rows) * M + columns
        tl.store(at, (-corner).to(inverse.dtype.element_ty), mask=rows < behind)
        tl.store(at + SIZE, second.to(inverse.dtype.element_ty), mask=(rows < behind) & (columns < behind))
        tl.store(out + rows * M + SIZE + columns, tl.zeros_like(first).to(inverse.dtype.element_ty), mask=columns < behind)
