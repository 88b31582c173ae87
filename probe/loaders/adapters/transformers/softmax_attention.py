"""Softmax attention of transformers: an attention function, registered with the library, that fires the hooks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...adapter import Adapter, ForeignMixer

NAME = "statescope"
IN_THE_MASK = ("dropout", "sliding_window", "position_ids", "cache_position")  # or without effect in evaluation


class SoftmaxAttentionAdapter(Adapter, kind="softmax_attention"):
    """z_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s, in every layer whose attention goes through the library's interface."""

    title = "softmax attention"
    checkpoints = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma 1 to 3", "GPT-2", "GPT-NeoX (Pythia)", "OLMo", "Phi")
    mixer = "attention"
    absent = ()

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        kind = type(module)
        return (
            kind.__module__.startswith("transformers.") and kind.__name__.endswith("Attention") and hasattr(module, "layer_idx")
        )

    @classmethod
    def prepare(cls, mixer: ForeignMixer, foreign: nn.Module) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import eager_mask

        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, eager_mask)
        foreign.set_attn_implementation(NAME)  # type: ignore[operator]
        object.__setattr__(mixer.module, NAME, mixer)  # not a submodule; a copy of the module has the copy of the mixer


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """query [B, H, T, K], key, value [B, G, T, .], an additive mask, which windows are in. Returns [B, T, H, V].

    softcap: scores s become c tanh(s / c). Raises ValueError for an argument that would change the result and is not known.
    """
    unknown = [name for name, given in rest.items() if name not in IN_THE_MASK and _is_number(given)]
    if unknown:
        raise ValueError(f"{type(module).__name__} gives its attention {', '.join(unknown)}, which the hooks do not know")
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixer: ForeignMixer | None = getattr(module, NAME, None)
    if mixer is None:
        output = _pattern(_scores(query, key, attention_mask, scale, softcap)) @ value
        return output.transpose(1, 2).contiguous(), None
    mixer.note_sizes(head=query.shape[1], key=query.shape[-1], value=value.shape[-1])
    query, key, value = (
        point(x.transpose(1, 2)).transpose(1, 2)
        for point, x in ((mixer.hook_q, query), (mixer.hook_k, key), (mixer.hook_v, value))
    )
    if softcap is not None or mixer.hook_pattern.has_hooks() or mixer.hook_attn_scores.has_hooks():
        scores = mixer.hook_attn_scores(_scores(query, key, attention_mask, scale, softcap))
        z = mixer.hook_pattern(_pattern(scores)) @ value
    else:
        causal = attention_mask is None and query.shape[2] > 1
        z = functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, is_causal=causal, scale=scale)
    return mixer.hook_z(z.transpose(1, 2)).contiguous(), None


def _is_number(given: Any) -> bool:
    return isinstance(given, Tensor | int | float) and not isinstance(given, bool)


def _scores(query: Tensor, key: Tensor, mask: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """[B, H, T, T]; causal where there is no mask."""
    scores = query @ key.mT * scale
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    if mask is None:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, torch.finfo(scores.dtype).min)
    return scores + mask


def _pattern(scores: Tensor) -> Tensor:
    return scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
