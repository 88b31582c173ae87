"""Products that meet the state before a token's own decay: those of the next token's vector, one row down."""

from __future__ import annotations

import torch
from torch import Tensor


def tokens_up(x: Tensor) -> Tensor:
    """x_{t+1} at t, zero at the last. x [..., C, K]."""
    return torch.cat([x[..., 1:, :], torch.zeros_like(x[..., :1, :])], dim=-2)


def rows_down(gram: Tensor) -> Tensor:
    """Row t - 1 at t, zero at the first. gram [..., C, C]."""
    return torch.cat([torch.zeros_like(gram[..., :1, :]), gram[..., :-1, :]], dim=-2)
