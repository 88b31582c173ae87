"""h_t = a_t h_{t-1} + x_t, token by token."""

from __future__ import annotations

import torch
from torch import Tensor


def scan(decay: Tensor, x: Tensor, state: Tensor) -> Tensor:
    """All h [B, T, ...] from decay and x [B, T, ...] and the state before the first token [B, ...]."""
    states = []
    for t in range(x.shape[1]):
        state = decay[:, t] * state + x[:, t]
        states.append(state)
    return torch.stack(states, dim=1)
