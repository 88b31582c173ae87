"""Causal softmax attention with rotary positions: o_t = sum_{s<=t} softmax_s(q_t . k_s / sqrt(K)) v_s.

Rotary embedding (Su et al. 2021, arXiv:2104.09864) turns the pair of channels (i, i + K/2) of q and k at position t by the
angle t * 10000^(-2i/K).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from .base import Mixer, MixerConfig, StateRequest, head_size, heads_of, linear


@dataclass(frozen=True)
class Attention(MixerConfig, kind="attention"):
    """Softmax attention. heads: H. key_size, value_size: K and V of each head; None means width / heads."""

    heads: int = 4
    key_size: int | None = None
    value_size: int | None = None

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"heads must be at least 1, got {self.heads}")

    def build(self, width: int, generator: Generator) -> Mixer:
        return AttentionMixer(self, width, generator)


class AttentionMixer(Mixer):
    """The module of Attention. Scores and pattern are computed apart only while they are hooked."""

    def __init__(self, config: Attention, width: int, generator: Generator) -> None:
        super().__init__(config.kind)
        heads = config.heads
        key_size, value_size = (size or head_size(width, heads) for size in (config.key_size, config.value_size))
        if key_size % 2:
            raise ValueError(f"rotary positions need an even key_size, got {key_size}")
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
        q, k, v = (heads_of(self.project[name](x), self.config.heads) for name in ("q", "k", "v"))
        q, k, v = self.hook_q(rotate(q)), self.hook_k(rotate(k)), self.hook_v(v)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if self.hook_pattern.has_hooks() or self.hook_attn_scores.has_hooks():
            z = self._by_pattern(q, k, v)
        else:
            z = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed: Tensor = self.project_out(self.hook_z(z.transpose(1, 2)).flatten(-2))
        return mixed

    def _by_pattern(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(future, -torch.inf)
        pattern: Tensor = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return pattern @ v


def rotate(x: Tensor, base: float = 10000.0) -> Tensor:
    """Rotary position embedding of x [B, T, H, K]."""
    half = x.shape[-1] // 2
    rate = base ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angle = torch.arange(x.shape[1], device=x.device, dtype=torch.float64)[:, None, None] * rate
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
