"""(I + A)^{-1} for strictly lower-triangular A: one program a matrix, the inverse X in registers.

The blocks of 16 rows on the diagonal are inverted side by side by forward substitution, X_i = e_i - sum_{j < i} A_ij X_j; what
lies below them is X_ij = -X_ii sum_{j <= k < i} A_ik X_kj. (Doubling the whole, a Neumann series, loses all digits on correlated
keys.)
"""

from __future__ import annotations

import triton
import triton.language as tl

SIDE = tl.constexpr(16)  # the rows of a block, the fewest that a matrix product takes


@triton.jit
def substitute(lower, M, BLOCKS: tl.constexpr):
    """The inverses [BLOCKS, SIDE, SIDE] of the blocks on the diagonal of a matrix of M rows."""
    first, at = tl.arange(0, BLOCKS) * SIDE, tl.arange(0, SIDE)
    unit = (at[:, None] == at[None, :]).to(tl.float32)[None]
    held = tl.zeros((BLOCKS, SIDE, SIDE), dtype=tl.float32) + unit
    for i in range(1, SIDE):
        row = (first + i)[:, None]
        known = tl.load(lower + row * M + first[:, None] + at[None, :], mask=(at < i)[None, :] & (row < M), other=0.0)
        taken = tl.sum(known[:, :, None] * held, axis=1)
        held = tl.where((at == i)[None, :, None], unit - taken[:, None, :], held)
    return held


@triton.jit
def block_of(held, number, BLOCKS: tl.constexpr):
    """One of the blocks [BLOCKS, SIDE, SIDE]."""
    return tl.sum(tl.where((tl.arange(0, BLOCKS) == number)[:, None, None], held, 0.0), axis=0)


@triton.jit
def product(a, b):
    """A product of two blocks, nearly in float32."""
    return tl.dot(a, b, input_precision="tf32x3")


@triton.jit
def read(lower, M, i, j):
    """The block of A in block row i and block column j < i."""
    rows, columns = i * SIDE + tl.arange(0, SIDE)[:, None], j * SIDE + tl.arange(0, SIDE)[None, :]
    return tl.load(lower + rows * M + columns, mask=rows < M, other=0.0)


@triton.jit
def write(inverse, M, i, j, found):
    rows, columns = i * SIDE + tl.arange(0, SIDE)[:, None], j * SIDE + tl.arange(0, SIDE)[None, :]
    tl.store(inverse + rows * M + columns, found.to(inverse.dtype.element_ty), mask=(rows < M) & (columns < M))


@triton.jit
def unit_lower_inverse(
    lower,  # [N, M, M], float32; only what lies strictly below the diagonal is read
    inverse,  # [N, M, M]
    M,
    BLOCK: tl.constexpr,  # 16, 32 or 64
):
    n = tl.program_id(0).to(tl.int64)
    BLOCKS: tl.constexpr = BLOCK // SIDE
    a, out = lower + n * M * M, inverse + n * M * M
    held = substitute(a, M, BLOCKS)
    x00 = block_of(held, 0, BLOCKS)
    write(out, M, 0, 0, x00)
    if BLOCKS > 1:
        nothing = tl.zeros((SIDE, SIDE), dtype=tl.float32)
        x11 = block_of(held, 1, BLOCKS)
        x10 = -product(x11, product(read(a, M, 1, 0), x00))
        write(out, M, 0, 1, nothing)
        write(out, M, 1, 0, x10)
        write(out, M, 1, 1, x11)
    if BLOCKS > 2:
        x22, x33 = block_of(held, 2, BLOCKS), block_of(held, 3, BLOCKS)
        a21, a32 = read(a, M, 2, 1), read(a, M, 3, 2)
        x21 = -product(x22, product(a21, x11))
        x20 = -product(x22, product(read(a, M, 2, 0), x00) + product(a21, x10))
        a31 = read(a, M, 3, 1)
        x32 = -product(x33, product(a32, x22))
        x31 = -product(x33, product(a31, x11) + product(a32, x21))
        x30 = -product(x33, product(read(a, M, 3, 0), x00) + product(a31, x10) + product(a32, x20))
        write(out, M, 0, 2, nothing)
        write(out, M, 0, 3, nothing)
        write(out, M, 1, 2, nothing)
        write(out, M, 1, 3, nothing)
        write(out, M, 2, 0, x20)
        write(out, M, 2, 1, x21)
        write(out, M, 2, 2, x22)
        write(out, M, 2, 3, nothing)
        write(out, M, 3, 0, x30)
        write(out, M, 3, 1, x31)
        write(out, M, 3, 2, x32)
        write(out, M, 3, 3, x33)
