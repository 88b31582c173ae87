"""LightNet of flash-linear-attention: keys that sum to one over the tokens so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....mixers.recurrences import GATED_LINEAR_ATTENTION
from ....mixers.spectrum import DECAYS
from ...adapter import ForeignMixer
from .layers import FlashLinearAttention, Read, run, ways, working

NOWHERE = -1e9  # the logit of a key at padding


def _lightnet(
    mixer: ForeignMixer,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    **_: Any,
) -> tuple[Tensor, Read]:
    """k [B, T, H, K] are logits: with z_t = log sum_{s <= t} e^{k_s} the key is e^{k_t - z_t}, and the log-decay z_{t-1} - z_t.

    Where nothing came before the decay is of no effect, and shown as 0. initial_state: (S, z [B, 1, H, K]) of what came before.
    """
    queries, logits, values = working(q, k, v)
    if mixer.mask is not None:
        logits = logits.where(mixer.mask[..., None, None], NOWHERE)
    started, earlier = (None, None) if initial_state is None else initial_state
    total = _running_log_sum(logits)
    total = total if earlier is None else torch.logaddexp(total, earlier.to(total))
    before = torch.cat([total[:, :1] if earlier is None else earlier.to(total), total[:, :-1]], dim=1)
    log_decay = (before - total).clamp(max=0.0).where(before > NOWHERE / 2, 0.0)  # rounding may leave it above 0
    tokens = {"q": queries, "k": (logits - total).exp(), "v": values, "log_decay": log_decay}
    return run(mixer, tokens, v, scale, started)[0], (None, None)  # type: ignore[return-value]


def _running_log_sum(logits: Tensor) -> Tensor:
    """log sum_{s <= t} e^{x_s} along axis 1, by doubling; torch's logcumsumexp has NaN as its second derivative."""
    total, shift = logits, 1
    while shift < logits.shape[1]:
        total = torch.cat([total[:, :shift], torch.logaddexp(total[:, shift:], total[:, :-shift])], dim=1)
        shift *= 2
    return total


class LightNetAdapter(FlashLinearAttention, kind="fla_lightnet"):
    """S_t = Diag(e^{z_{t-1} - z_t}) S_{t-1} + e^{k_t - z_t} v_t^T."""

    title = "LightNet"
    checkpoints = ("LightNet",)
    mixer = "gated_linear_attention"
    modules = ("LightNetAttention",)
    recurrence = GATED_LINEAR_ATTENTION
    spectrum = DECAYS
    functions = ways("lightnet", _lightnet, "chunk", "fused_recurrent")
    value_first = True
