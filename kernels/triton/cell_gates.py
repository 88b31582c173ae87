"""What the kernels of the cells share: activations, and the recurrent matrices of a head."""

from __future__ import annotations

import triton
import triton.language as tl

ELMAN = tl.constexpr(0)
GRU = tl.constexpr(1)
LSTM = tl.constexpr(2)
SLSTM = tl.constexpr(3)


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def log_sigmoid(x):
    return tl.minimum(x, 0.0) - tl.log(1 + tl.exp(-tl.abs(x)))


@triton.jit
def matrix(recurrent, block, rows, columns, D: tl.constexpr):
    """R[head, gate] of [H, G, D, D] at [rows, columns], zero outside; block = head * G + gate."""
    inside = (rows < D) & (columns < D)
    return tl.load(recurrent + block * D * D + rows * D + columns, mask=inside, other=0.0)


@triton.jit
def slstm_gates(forget, write, normaliser, maximum):
    """log sigma(f) + m, the new maximum m', and the stabilised forget and input gates (`reference/cells.py`)."""
    kept = log_sigmoid(forget) + maximum
    written = normaliser != 0
    largest = tl.where(written, tl.maximum(kept, write), write)
    return kept, largest, tl.where(written, tl.exp(kept - largest), 0.0), tl.exp(write - largest)
