"""The adjoint of a cell's time loop, from the last token to the first.

The pre-activations R h + b of every token come from outside, where they are one product over all tokens.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .cell_gates import ELMAN, GRU, LSTM, SLSTM, matrix, slstm_gates, tanh


@triton.jit
def cell_backward(
    inputs,  # [N, T, H, G, D]
    from_state,  # [N, T, H, G, D]: R h_{t-1} + b
    recurrent,  # [H, G, D, D]
    before,  # [N, T, H, P, D]: the state before each token
    states,  # [N, T, H, P, D]: after it
    d_states,  # [N, T, H, P, D]
    d_inputs,  # [N, T, H, G, D], a result; but for the GRU's n it is d from_state too
    d_state,  # [N, H, P, D], a result: of the state before the first token
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
    m0 = matrix(recurrent, block, e, d, D)
    if CELL != ELMAN:
        m1, m2 = matrix(recurrent, block + 1, e, d, D), matrix(recurrent, block + 2, e, d, D)
    if G == 4:
        m3 = matrix(recurrent, block + 3, e, d, D)
    dh = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    dc, dn, dm = dh, dh, dh
    for step in range(T):
        token = (n.to(tl.int64) * T + (T - 1 - step)) * H + head
        gate, part = token * G * D + d, token * P * D + d
        p0 = tl.load(from_state + gate, mask=inside, other=0.0)
        x0 = tl.load(inputs + gate, mask=inside, other=0.0).to(tl.float32)
        dh += tl.load(d_states + part, mask=inside, other=0.0)
        h_before = tl.load(before + part, mask=inside, other=0.0)
        if CELL != ELMAN:
            p1 = tl.load(from_state + gate + D, mask=inside, other=0.0)
            p2 = tl.load(from_state + gate + 2 * D, mask=inside, other=0.0)
            x1 = tl.load(inputs + gate + D, mask=inside, other=0.0).to(tl.float32)
            x2 = tl.load(inputs + gate + 2 * D, mask=inside, other=0.0).to(tl.float32)
        if G == 4:
            p3 = tl.load(from_state + gate + 3 * D, mask=inside, other=0.0)
            read = tl.sigmoid(p3 + tl.load(inputs + gate + 3 * D, mask=inside, other=0.0).to(tl.float32))
        if P > 1:
            dc += tl.load(d_states + part + D, mask=inside, other=0.0)
            c_before = tl.load(before + part + D, mask=inside, other=0.0)
            c = tl.load(states + part + D, mask=inside, other=0.0)
        if CELL == ELMAN:
            h = tl.load(states + part, mask=inside, other=0.0)
            g0 = dh * (1 - h * h)
            dh_direct = tl.zeros_like(dh)
        if CELL == GRU:
            reset, update = tl.sigmoid(x0 + p0), tl.sigmoid(x1 + p1)
            new = tanh(x2 + reset * p2)
            g2 = dh * (1 - update) * (1 - new * new)
            g0 = g2 * p2 * reset * (1 - reset)
            g1 = dh * (h_before - new) * update * (1 - update)
            dh_direct = dh * update
        if CELL == LSTM:
            i, f, g, squashed = tl.sigmoid(x0 + p0), tl.sigmoid(x1 + p1), tanh(x2 + p2), tanh(c)
            g3 = dh * squashed * read * (1 - read)
            dc += dh * read * (1 - squashed * squashed)
            g0, g1, g2 = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g)
            dc = dc * f
            dh_direct = tl.zeros_like(dh)
        if CELL == SLSTM:
            dn += tl.load(d_states + part + 2 * D, mask=inside, other=0.0)
            dm += tl.load(d_states + part + 3 * D, mask=inside, other=0.0)
            n_before = tl.load(before + part + 2 * D, mask=inside, other=0.0)
            m_before = tl.load(before + part + 3 * D, mask=inside, other=0.0)
            normaliser = tl.load(states + part + 2 * D, mask=inside, other=1.0)
            f_pre, i_pre, z = x1 + p1, x0 + p0, tanh(x2 + p2)
            kept, _, forget, write = slstm_gates(f_pre, i_pre, n_before, m_before)
            g3 = dh * c / normaliser * read * (1 - read)
            dc += dh * read / normaliser
            dn -= dh * read * c / (normaliser * normaliser)
            d_kept = (dc * c_before + dn * n_before) * forget
            g0 = (dc * z + dn) * write
            g2 = dc * write * (1 - z * z)
            d_largest = dm - d_kept - g0
            to_kept = tl.where(kept > i_pre, 1.0, tl.where(kept == i_pre, 0.5, 0.0))  # as torch.maximum shares a tie
            to_kept = tl.where(n_before != 0, to_kept, 0.0)
            d_kept += d_largest * to_kept
            g0 += d_largest * (1 - to_kept)
            g1 = d_kept * tl.sigmoid(-f_pre)
            dc, dn, dm = dc * forget, dn * forget, d_kept
            dh_direct = tl.zeros_like(dh)
        tl.store(d_inputs + gate, g0, mask=inside)
        dh = dh_direct + tl.dot(g0, m0, input_precision=PRECISION)
        if CELL != ELMAN:
            tl.store(d_inputs + gate + D, g1, mask=inside)
            tl.store(d_inputs + gate + 2 * D, g2, mask=inside)
            if CELL == GRU:
                g2 = g2 * reset
            dh += tl.dot(g1, m1, input_precision=PRECISION)
            dh += tl.dot(g2, m2, input_precision=PRECISION)
        if G == 4:
            tl.store(d_inputs + gate + 3 * D, g3, mask=inside)
            dh += tl.dot(g3, m3, input_precision=PRECISION)
    leaving = d_state + (n.to(tl.int64) * H + head) * P * D + d
    tl.store(leaving, dh, mask=inside)
    if P > 1:
        tl.store(leaving + D, dc, mask=inside)
    if P == 4:
        tl.store(leaving + 2 * D, dn, mask=inside)
        tl.store(leaving + 3 * D, dm, mask=inside)
