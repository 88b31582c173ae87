"""(I + A)^{-1} for strictly lower-triangular A, by forward substitution: one program a matrix, all of it in registers.

Row i of the inverse X is e_i - sum_{j < i} A_ij X_j. It reads and writes each matrix once.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def unit_lower_inverse(
    lower,  # [N, M, M], float32; only what lies strictly below the diagonal is read
    inverse,  # [N, M, M], float32
    M,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    held = (rows[:, None] == columns[None, :]).to(tl.float32)
    for i in range(1, M):
        known = tl.load(lower + (n * M + i) * M + rows, mask=rows < i, other=0.0)
        row = (columns == i).to(tl.float32) - tl.sum(known[:, None] * held, axis=0)
        held = tl.where(rows[:, None] == i, row[None, :], held)
    inside = (rows < M)[:, None] & (columns < M)[None, :]
    tl.store(inverse + (n * M + rows[:, None]) * M + columns[None, :], held, mask=inside)
