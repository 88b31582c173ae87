"""The scan h_t = a_t h_{t-1} + x_t of independent channels, by doubling inside short rows and a scan over the rows.

Only products of coefficients are formed, never a quotient, so nothing overflows where |a| <= 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..precision import outside_autocast

ROW = 16  # tokens scanned by doubling


def scan(decay: Tensor, x: Tensor, state: Tensor) -> Tensor:
    """All h [B, T, ...] from decay and x [B, T, ...] and the state before the first token [B, ...]; real or complex."""
    states: Tensor = Scan.apply(decay, x, state)  # type: ignore[no-untyped-call]
    return states


class Scan(torch.autograd.Function):
    """Backward scans from the end, G_t = dh_t + conj(a_{t+1}) G_{t+1}: dx = G, da_t = G_t conj(h_{t-1}), dh_0 = conj(a_1) G_1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decay: Tensor, x: Tensor, state: Tensor) -> Tensor:
        return _scan(decay, torch.cat([x[:, :1] + decay[:, :1] * state[:, None], x[:, 1:]], dim=1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        decay, _, state = inputs
        ctx.save_for_backward(decay, state, output)

    @staticmethod
    @outside_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        decay, state, states = ctx.saved_tensors
        later = torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], dim=1).conj()
        through = scan(later.flip(1), gradient.flip(1), torch.zeros_like(state)).flip(1)
        before = torch.cat([state[:, None], states[:, :-1]], dim=1)
        return through * before.conj(), through, decay[:, 0].conj() * through[:, 0]


def _scan(decay: Tensor, x: Tensor) -> Tensor:
    """From a zero state, without a gradient."""
    length = x.shape[1]
    if length == 1:
        return x
    padding = -length % ROW if length > ROW else 0
    if padding:
        decay, x = (torch.cat([y, y.new_zeros(y.shape[0], padding, *y.shape[2:])], dim=1) for y in (decay, x))
    row = min(ROW, length)
    decay, x = (y.unflatten(1, (-1, row)) for y in (decay, x))
    reach = 1
    while reach < row:
        x = torch.cat([x[:, :, :reach], x[:, :, reach:] + decay[:, :, reach:] * x[:, :, :-reach]], dim=2)
        decay = torch.cat([decay[:, :, :reach], decay[:, :, reach:] * decay[:, :, :-reach]], dim=2)
        reach *= 2
    if x.shape[1] > 1:
        ends = _scan(decay[:, :, -1], x[:, :, -1])
        x = torch.cat([x[:, :1], x[:, 1:] + decay[:, 1:] * ends[:, :-1, None]], dim=1)
    return x.flatten(1, 2)[:, :length]
