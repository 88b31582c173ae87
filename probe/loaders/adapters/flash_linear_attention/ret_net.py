"""RetNet of flash-linear-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import FIXED_DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


def _retention(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """The decay of head h is 1 - 2^{-5 - h}. Rotary positions count from the first token that is no padding."""
    if mixer.mask is not None:
        padding = mixer.mask.int().argmax(1)
        q, k = (_turned_back(x, padding[:, None, None, None] * mixer.module.rotary.inv_freq) for x in (q, k))
    heads = torch.arange(v.shape[2], device=v.device, dtype=torch.float32)
    log_decay = torch.log1p(-torch.exp2(-5 - heads)).expand(v.shape[:3])
    tokens = dict(zip("qkv", working(q, k, v), strict=True)) | {"log_decay": log_decay}
    return run(mixer, tokens, v, scale, initial_state)


def _turned_back(x: Tensor, angle: Tensor) -> Tensor:
    """x [B, T, H, K] with the two halves of each head turned by -angle [B, 1, 1, K / 2]."""
    first, second = x.float().chunk(2, dim=-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([first * cosine + second * sine, second * cosine - first * sine], dim=-1).to(x.dtype)


class RetNetAdapter(FlashLinearAttention, kind="fla_ret_net"):
    """S_t = (1 - 2^{-5 - h}) S_{t-1} + k_t v_t^T in head h."""

    title = "retention"
    checkpoints = ("RetNet",)
    mixer = "ret_net"
    modules = ("MultiScaleRetention",)
    recurrence = LINEAR_ATTENTION
    spectrum = FIXED_DECAYS
    functions = ways("retention", _retention, "chunk", "fused_chunk", "fused_recurrent", "parallel")
