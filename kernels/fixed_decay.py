"""The decays that papers fix for each head."""

from __future__ import annotations

import torch
from torch import Tensor


def retnet_log_decay(heads: int) -> Tensor:
    """log(1 - 2^{-5-h}) for head h, [H], in float64: RetNet's multi-scale decays (Sun et al. 2023, arXiv:2307.08621, eq. 8)."""
    return torch.log1p(-(2.0 ** (-5.0 - torch.arange(heads, dtype=torch.float64))))


def lightning_log_decay(heads: int, layer: int = 0, layers: int = 1) -> Tensor:
    """-2^{-8(h+1)/H} (1 - layer/(layers-1)) for head h, [H], in float64.

    TransNormerLLM and Lightning attention (Qin et al. 2024, arXiv:2307.14995 eq. 10, 2401.04658): ALiBi's slopes, falling to
    none in the last layer. `heads` a power of two; slopes for others follow ALiBi's interleaving and are refused here.
    """
    if heads < 1 or heads & (heads - 1):
        raise ValueError(f"heads={heads} must be a power of two")
    if not 0 <= layer < layers:
        raise ValueError(f"layer={layer} is outside {layers} layers")
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)
    return -slopes * (1.0 if layers == 1 else 1 - layer / (layers - 1))
