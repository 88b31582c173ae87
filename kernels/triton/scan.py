"""The scan h_t = a_t h_{t-1} + x_t of independent channels, forwards or from the end; each program walks a block of channels.

Three elements a token and channel are moved, which is all there are. Complex numbers lie as pairs.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scan(
    decay,  # [B, T, W, PARTS], PARTS 2 for complex numbers, else 1
    x,  # [B, T, W, PARTS]
    state,  # [B, W, PARTS]: before the first token (behind the last, from the end)
    states,  # [B, T, W, PARTS], the result
    T,
    W,
    BLOCK: tl.constexpr,
    COMPLEX: tl.constexpr,
    FROM_END: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    w = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = w < W
    parts: tl.constexpr = 2 if COMPLEX else 1
    at = b * W * parts + w * parts
    real = tl.load(state + at, mask=inside, other=0.0)
    imaginary = tl.load(state + at + 1, mask=inside, other=0.0) if COMPLEX else real
    for step in range(T):
        t = T - 1 - step if FROM_END else step
        at = (b * T + t) * W * parts + w * parts
        a = tl.load(decay + at, mask=inside, other=0.0)
        into = tl.load(x + at, mask=inside, other=0.0)
        if COMPLEX:
            a_imaginary = tl.load(decay + at + 1, mask=inside, other=0.0)
            into_imaginary = tl.load(x + at + 1, mask=inside, other=0.0)
            turned = a * real - a_imaginary * imaginary
            imaginary = a * imaginary + a_imaginary * real + into_imaginary
            real = turned + into
            tl.store(states + at + 1, imaginary, mask=inside)
        else:
            real = a * real + into
        tl.store(states + at, real, mask=inside)
