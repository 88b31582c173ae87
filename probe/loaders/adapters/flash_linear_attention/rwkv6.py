"""RWKV-6 of flash-linear-attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....mixers.recurrences import GATED_LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, ways, working


def _rwkv6(
    mixer: ForeignMixer,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    scale: float | None = 1.0,
    initial_state: Tensor | None = None,
    **_: Any,
) -> Read:
    """w is the log-decay [B, T, H, K], u [H, K] the weight of a token's own write in its read-out."""
    mixer.only_from_nothing(initial_state, "initial_state")
    mixer.note_sizes(head=v.shape[2], key=k.shape[-1], value=v.shape[-1])
    queries, keys, values, log_decay, bonus = working(r, k, v, w, u)
    queries = queries * (k.shape[-1] ** -0.5 if scale is None else scale)
    read = mixer.run({"q": queries, "k": keys, "v": values, "log_decay": log_decay}, bonus=bonus)[0]
    return read.to(v.dtype), None


class RWKV6Adapter(FlashLinearAttention, kind="fla_rwkv6"):
    """S_t = Diag(e^{w_t}) S_{t-1} + k_t v_t^T, o_t = (S_{t-1} + Diag(u) k_t v_t^T)^T r_t."""

    title = "RWKV-6"
    checkpoints = ("RWKV-6",)
    mixer = "rwkv6"
    modules = ("RWKV6Attention",)
    recurrence = GATED_LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("rwkv6", _rwkv6, "chunk", "fused_recurrent")
