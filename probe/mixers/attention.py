"""Causal softmax attention with rotary positions: o_t = sum_{s<=t} softmax_s(q_t . k_s / sqrt(K)) v_s.

Rotary embedding (Su et al. 2021, arXiv:2104.09864) turns the pair of channels (i, i + K/2) of q and k at position t by the
angle t * 10000^(-2i/K).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..hooks.names import STATE_PLACE, TRANSITION_PLACE
from ..hooks.points import Point
from .base import Memory, Mixer, StateRequest, heads_of, linear
from .heads import HeadsConfig
from .points import QKV, Z


@dataclass(frozen=True)
class Attention(HeadsConfig, kind="attention"):
    """Softmax attention with rotary positions."""

    points = (
        *QKV,
        Point("attn.hook_attn_scores", "batch head query source", "scores before the softmax", "write", "request"),
        Point("attn.hook_pattern", "batch head query source", "attention after the softmax", "write", "request"),
        Z,
    )
    absences: ClassVar[Mapping[str, str]] = {
        STATE_PLACE: "attention keeps the keys and values of all tokens, and no state of a fixed size",
        TRANSITION_PLACE: "without a state nothing is moved on",
    }

    window: int | None = None
    """A token attends to so many, itself among them; None means all before it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")

    @property
    def turned(self) -> bool:
        return True

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return AttentionMixer(self, width, generator)


class AttentionMixer(Mixer):
    """The module of Attention. Scores and pattern are computed apart only while they are hooked."""

    def __init__(self, config: Attention, width: int, generator: Generator) -> None:
        super().__init__(config.kind, config.points, config.absences)
        heads = config.heads
        key_size, value_size = config.sizes(width)
        self.axis_sizes = {"head": heads, "key": key_size, "value": value_size}
        self.config = config
        sizes = {"q": heads * key_size, "k": heads * key_size, "v": heads * value_size}
        self.project = nn.ModuleDict({name: linear(width, size, generator) for name, size in sizes.items()})
        self.project_out = linear(heads * value_size, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""
        return self.project_out.weight.T.unflatten(0, (self.config.heads, -1))

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        memory = request.memory if request.memory is not None else {}
        start = memory.get("length", 0)
        q, k, v = (heads_of(self.project[name](x), self.config.heads) for name in ("q", "k", "v"))
        q, k, v = self.hook_q(rotate(q, start)), self.hook_k(rotate(k, start)), self.hook_v(v)
        if start:
            k, v = torch.cat([memory["k"], k], dim=1), torch.cat([memory["v"], v], dim=1)
        kept = slice(None if self.config.window is None else max(0, k.shape[1] - self.config.window + 1), None)
        memory |= {"length": start + x.shape[1], "k": k[:, kept], "v": v[:, kept]}
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if self.hook_pattern.has_hooks() or self.hook_attn_scores.has_hooks():
            z = self._by_pattern(q, k, v)
        elif self.config.window is None and not start:
            z = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            z = functional.scaled_dot_product_attention(q, k, v, attn_mask=~self._hidden(q, k))
        mixed: Tensor = self.project_out(self.hook_z(z.transpose(1, 2)).flatten(-2))
        return mixed

    def _hidden(self, q: Tensor, k: Tensor) -> Tensor:
        """[queries, sources]: which sources a query does not see; the last query stands at the last source."""
        sources = torch.arange(k.shape[2], device=q.device)
        distance = sources[k.shape[2] - q.shape[2] :, None] - sources
        hidden = distance < 0
        return hidden if self.config.window is None else hidden | (distance >= self.config.window)

    def _by_pattern(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(self._hidden(q, k), -torch.inf)
        pattern: Tensor = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return pattern @ v


def rotate_on(q: Tensor, k: Tensor, memory: Memory | None) -> tuple[Tensor, Tensor]:
    """Rotary q and k, going on from the tokens that `memory` has counted, and counting these."""
    start = 0 if memory is None else memory.get("length", 0)
    if memory is not None:
        memory["length"] = start + q.shape[1]
    return rotate(q, start), rotate(k, start)


def rotate(x: Tensor, start: int = 0, base: float = 10000.0) -> Tensor:
    """Rotary position embedding of x [B, T, H, K], whose first token stands at position `start`."""
    half = x.shape[-1] // 2
    rate = base ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angle = torch.arange(start, start + x.shape[1], device=x.device, dtype=torch.float64)[:, None, None] * rate
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
