"""RWKV-7 of flash-linear-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.recurrences import DIAGONAL_PLUS_LOW_RANK
from ....mixers.rwkv import RWKV7_SPECTRUM
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working


def _rwkv7_step(mixer: ForeignMixer, r: Tensor, w: Tensor, k: Tensor, v: Tensor, kk: Tensor, a: Tensor, **how: Any) -> Read:
    return _rwkv7(mixer, r, w, k, v, -kk, kk * a, **how)


def _rwkv7(
    mixer: ForeignMixer,
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    scale: float | None = 1.0,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """The transition is Diag(e^w) + b a^T."""
    names = ("q", "log_decay", "k", "v", "a", "b")
    return run(mixer, dict(zip(names, working(r, w, k, v, -a, -b), strict=True)), v, scale, initial_state)


class RWKV7Adapter(FlashLinearAttention, kind="fla_rwkv7"):
    """S_t = (Diag(e^{w_t}) + b_t a_t^T) S_{t-1} + k_t v_t^T."""

    title = "RWKV-7"
    checkpoints = ("RWKV-7",)
    mixer = "rwkv7"
    modules = ("RWKV7Attention",)
    recurrence = DIAGONAL_PLUS_LOW_RANK
    spectrum = RWKV7_SPECTRUM
    functions = ways("rwkv7", _rwkv7, "chunk") | ways("rwkv7", _rwkv7_step, "fused_mul_recurrent")
