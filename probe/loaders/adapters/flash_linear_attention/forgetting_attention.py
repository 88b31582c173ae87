"""The forgetting transformer of flash-linear-attention: softmax attention whose scores fall with what was forgotten since."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ....mixers.attention import Attention
from ....mixers.points import LOG_DECAY
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention


def _attend(mixer: ForeignMixer, q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float | None = None, **rest: Any) -> Tensor:
    """q [B, T, H, K], k, v [B, T, G, .]; g [B, T, H], the log of each forget gate. Returns [B, T, H, V]."""
    unknown = [name for name, given in rest.items() if given is not None]
    if unknown:
        raise ValueError(f"forgetting attention is given {', '.join(unknown)}, which the hooks do not know")
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], dim=2) for x in (k, v))
    mixer.note_sizes(head=q.shape[2], key=q.shape[-1], value=v.shape[-1])
    tokens = mixer.fire(q=q, k=k, v=v, log_decay=g.float())
    kept = tokens["log_decay"].cumsum(1)
    scores = torch.einsum("bqhk,bshk->bhqs", tokens["q"], tokens["k"]) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.float() + (kept[:, :, None] - kept[:, None]).movedim(3, 1)
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    hidden = hidden if mixer.mask is None else hidden | ~mixer.mask[:, None, None]
    scores = mixer.hook_attn_scores(scores.masked_fill(hidden, torch.finfo(scores.dtype).min))
    pattern = mixer.hook_pattern(scores.softmax(-1).to(v.dtype))
    return mixer.hook_z(torch.einsum("bhqs,bshv->bqhv", pattern, tokens["v"]))


def _unpadded(mixer: ForeignMixer, q: Tensor, states: Any, mask: Tensor, length: int, **_: Any) -> Any:
    """In the place of their unpadding, which packs a batch: padding stays where it is and is not attended to."""
    return q, states, None, (None, None), (length, length)


class ForgettingAttentionAdapter(FlashLinearAttention, kind="fla_forgetting_attention"):
    """z_t = sum_s softmax_s(q_t . k_s / sqrt(K) + sum_{s < r <= t} g_r) v_s."""

    title = "forgetting attention"
    checkpoints = ("forgetting transformer",)
    mixer = "attention"
    own_points = (*Attention.points, LOG_DECAY)
    absent = ()
    modules = ("ForgettingAttention",)
    functions: ClassVar = {"parallel_forgetting_attn": _attend, "unpad_input": _unpadded}
