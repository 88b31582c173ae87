"""Lightning attention of MiniMax."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ....mixers.recurrences import LINEAR_ATTENTION
from ....mixers.spectrum import FIXED_DECAYS
from ...adapter import Adapter, ForeignMixer


def _lightning(mixer: ForeignMixer, hidden_states: Tensor, *_: Any, attention_mask: Tensor | None = None, **__: Any) -> Any:
    """The whole forward of MiniMax's layer, whose recurrence is no function of its own."""
    module: Any = mixer.module
    heads, size = module.num_attention_heads, module.head_dim
    qkv = module.act_fn(module.qkv_proj(hidden_states))
    if attention_mask is not None and attention_mask.ndim == 2:
        qkv = qkv * attention_mask[:, :, None].to(qkv.dtype)
    q, k, v = qkv.unflatten(-1, (heads, 3 * size)).split(size, dim=-1)
    log_decay = -module.slope_rate.flatten().to(torch.float32).expand(*q.shape[:2], -1)
    mixer.note_sizes(head=heads, key=size, value=size, householder=1)
    working = torch.promote_types(q.dtype, torch.float32)
    tokens = {"q": q.to(working), "k": k.to(working), "v": v.to(working), "log_decay": log_decay.to(working)}
    read, final = mixer.run(tokens)
    output = module.norm(read.to(hidden_states.dtype).flatten(-2))
    return module.out_proj(functional.sigmoid(module.output_gate(hidden_states)) * output), final


class LightningAttentionAdapter(Adapter, kind="lightning_attention"):
    """S_t = e^{-slope} S_{t-1} + k_t v_t^T, with a fixed slope a head."""

    title = "lightning attention"
    checkpoints = ("MiniMax",)
    mixer = "trans_normer"
    modules = ("MiniMaxLightningAttention",)
    recurrence = LINEAR_ATTENTION
    spectrum = FIXED_DECAYS
    methods: ClassVar = {"forward": _lightning}

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        return out.past_key_values.get_linear_cache(layer)
