"""What the layers of flash-linear-attention share: they hand q, k, v and gates to one kernel, and that kernel is ours here."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ...adapter import Adapter, ForeignMixer, Runner

Read = tuple[Tensor, None]


def working(*tensors: Tensor) -> list[Tensor]:
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def run(
    mixer: ForeignMixer,
    tokens: dict[str, Tensor],
    like: Tensor,
    scale: float | None,
    initial_state: Tensor | None,
    *,
    unhooked: dict[str, Tensor] | None = None,
    **sizes: int,
) -> Read:
    """Queries scaled; sizes noted; read-outs in the dtype of the layer."""
    mixer.only_from_nothing(initial_state, "initial_state")
    q, k, v = (tokens[name] for name in ("q", "k", "v"))
    mixer.note_sizes(**({"head": v.shape[2], "key": k.shape[-1], "value": v.shape[-1], "state_value": v.shape[-1]} | sizes))
    queries = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    return mixer.run(tokens | {"q": queries}, unhooked=unhooked)[0].to(like.dtype), None


def _masked(
    mixer: ForeignMixer,
    hidden_states: Tensor,
    cu_seqlens: Tensor | None = None,
    attention_mask: Tensor | None = None,
    q_len: int | None = None,
) -> tuple[Tensor, None, None]:
    """In the place of their unpadding, which packs a batch: padding stays where it is and writes nothing."""
    if cu_seqlens is not None:
        raise ValueError("cu_seqlens is given; the hooked model takes a batch [B, T], padded where sequences differ in length")
    return hidden_states if mixer.mask is None else hidden_states * mixer.mask[..., None], None, None


def _unchanged(mixer: ForeignMixer, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


PADDING: dict[str, Runner] = {"unpad_hidden_states": _masked, "repad_hidden_states": _unchanged}


def ways(name: str, runner: Runner, *prefixes: str) -> dict[str, Runner]:
    """The kernels of one recurrence: chunked, token by token, and so on; and what stands for their unpadding."""
    return PADDING | {f"{prefix}_{name}": runner for prefix in prefixes}


class FlashLinearAttention(Adapter):
    """Base of the families of flash-linear-attention. value_first: whether the library keeps its states as [value, key]."""

    package = "fla"
    value_first: ClassVar[bool] = False

    @classmethod
    def cached_state(cls, mixer: ForeignMixer, out: Any, layer: int) -> Tensor | None:
        state = out.past_key_values[layer]["recurrent_state"]
        if isinstance(state, list | tuple):  # of keys and of values, for slots
            state = state[-1]
        found: Tensor = state.mT if cls.value_first else state
        return found
