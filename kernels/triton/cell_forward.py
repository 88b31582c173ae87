"""The time loop of a cell in one kernel (Pöppel et al. 2025, arXiv:2412.07752): a program walks a block of sequences of a head.

The recurrent matrices stay in shared memory from the first token to the last.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .cell_gates import ELMAN, GRU, LSTM, SLSTM, matrix, slstm_gates, tanh


@triton.jit
def cell_forward(
    inputs,  # [N, T, H, G, D]
    recurrent,  # [H, G, D, D]
    bias,  # [H, G, D]
    state,  # [N, H, P, D]
    states,  # [N, T, H, P, D], the result
    N,
    T,
    H,
    G: tl.constexpr,
    P: tl.constexpr,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CELL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    head = tl.program_id(1)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    e = tl.arange(0, BLOCK_D)[:, None]
    inside = (n < N) & (d < D)
    block = head * G
    own = block * D + d
    b0 = tl.load(bias + own, mask=d < D, other=0.0)
    m0 = matrix(recurrent, block, d, e, D)
    if CELL != ELMAN:
        b1 = tl.load(bias + own + D, mask=d < D, other=0.0)
        b2 = tl.load(bias + own + 2 * D, mask=d < D, other=0.0)
        m1, m2 = matrix(recurrent, block + 1, d, e, D), matrix(recurrent, block + 2, d, e, D)
    if G == 4:
        b3 = tl.load(bias + own + 3 * D, mask=d < D, other=0.0)
        m3 = matrix(recurrent, block + 3, d, e, D)
    entering = state + (n.to(tl.int64) * H + head) * P * D + d
    h = tl.load(entering, mask=inside, other=0.0)
    if P > 1:
        c = tl.load(entering + D, mask=inside, other=0.0)
    if P == 4:
        normaliser = tl.load(entering + 2 * D, mask=inside, other=0.0)
        maximum = tl.load(entering + 3 * D, mask=inside, other=0.0)
    for t in range(T):
        token = (n.to(tl.int64) * T + t) * H + head
        x = inputs + token * G * D + d
        pre0 = tl.dot(h, m0, input_precision=PRECISION) + b0
        x0 = tl.load(x, mask=inside, other=0.0).to(tl.float32)
        if CELL != ELMAN:
            pre1 = tl.dot(h, m1, input_precision=PRECISION) + b1
            pre2 = tl.dot(h, m2, input_precision=PRECISION) + b2
            x1 = tl.load(x + D, mask=inside, other=0.0).to(tl.float32)
            x2 = tl.load(x + 2 * D, mask=inside, other=0.0).to(tl.float32)
        if G == 4:
            x3 = tl.load(x + 3 * D, mask=inside, other=0.0).to(tl.float32)
            read = tl.sigmoid(x3 + tl.dot(h, m3, input_precision=PRECISION) + b3)
        if CELL == ELMAN:
            h = tanh(x0 + pre0)
        if CELL == GRU:
            update = tl.sigmoid(x1 + pre1)
            h = (1 - update) * tanh(x2 + tl.sigmoid(x0 + pre0) * pre2) + update * h
        if CELL == LSTM:
            c = tl.sigmoid(x1 + pre1) * c + tl.sigmoid(x0 + pre0) * tanh(x2 + pre2)
            h = read * tanh(c)
        if CELL == SLSTM:
            _, maximum, forget, write = slstm_gates(x1 + pre1, x0 + pre0, normaliser, maximum)
            c = forget * c + write * tanh(x2 + pre2)
            normaliser = forget * normaliser + write
            h = read * c / normaliser
            h = tl.where(inside, h, 0.0)
        at = states + token * P * D + d
        tl.store(at, h, mask=inside)
        if P > 1:
            tl.store(at + D, c, mask=inside)
        if P == 4:
            tl.store(at + 2 * D, normaliser, mask=inside)
            tl.store(at + 3 * D, maximum, mask=inside)
