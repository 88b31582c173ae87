"""What every token mixer shares: its configuration's base, its hook points, and the small modules it is built from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from ...kernels.recurrence import Edit, TapRequest
from ..configuration import Kinds
from ..hooks.points import mixer_points

if TYPE_CHECKING:
    from torch import Generator


@dataclass(frozen=True)
class StateRequest:
    """What a forward pass asks of a mixer's states, and what came of it."""

    taps: TapRequest | None = None
    edits: Sequence[Edit] = ()


@dataclass(frozen=True)
class MixerConfig(Kinds, family="mixer"):
    """Base of the token mixers' configurations."""

    @abstractmethod
    def build(self, width: int, generator: Generator) -> Mixer:
        """The module for a residual stream of `width`, its parameters drawn from `generator`."""

    @property
    def has_state(self) -> bool:
        """Whether the mixer is a recurrence, which taps and edits apply to."""
        return any(point.name == "attn.hook_state" for point in mixer_points(self.kind))


class Mixer(nn.Module):
    """A token mixer: [B, T, width] -> [B, T, width]. Its hook points are those of the table for its kind.

    axis_sizes: sizes of the axes of its hooks ("head", "key", "value", "householder"), for the byte budget.
    """

    axis_sizes: dict[str, int]
    hook_q: HookPoint
    hook_k: HookPoint
    hook_v: HookPoint
    hook_z: HookPoint
    hook_state: HookPoint
    hook_write: HookPoint
    hook_transition: HookPoint
    hook_effective_attention: HookPoint
    hook_recurrence_out: HookPoint
    hook_beta: HookPoint
    hook_log_decay: HookPoint
    hook_gate: HookPoint
    hook_attn_scores: HookPoint
    hook_pattern: HookPoint

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        for point in mixer_points(kind):
            setattr(self, point.name.removeprefix("attn."), HookPoint())

    @property
    @abstractmethod
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""

    @abstractmethod
    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        """Mix tokens. x [B, T, width]."""


def observe(point: HookPoint, value: Any) -> None:
    """Fire a hook whose value the model does not read. Raises if a hook function tries to replace it."""
    if point(value) is not value:
        raise RuntimeError(
            f"a hook function returned a replacement for {point.name}, which the forward pass does not read; "
            "change states with run_with_edits, and transitions through hook_k, hook_beta or hook_log_decay"
        )


def linear(inputs: int, outputs: int, generator: Generator, *, scale: float = 1.0) -> nn.Linear:
    """A linear map without bias, its entries N(0, scale^2 / inputs)."""
    made = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
    nn.init.normal_(made.weight, std=scale * inputs**-0.5, generator=generator)
    return made


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain over the last axis."""

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self._normalize(x) * self.weight

    def _normalize(self, x: Tensor) -> Tensor:
        return x / self._scale(x)

    def _scale(self, x: Tensor) -> Tensor:
        return (x.square().mean(-1, keepdim=True) + self.eps).sqrt()


class HookedRMSNorm(RMSNorm):
    """RMSNorm with transformer-lens's hooks on its scale and on its result before the gain."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def _normalize(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.hook_normalized(x / self.hook_scale(self._scale(x)))
        return normalized


class ShortConvolution(nn.Module):
    """A causal depthwise convolution over a few tokens: y_t = sum_j w_j x_{t-j}, channel by channel."""

    def __init__(self, channels: int, width: int, generator: Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, width))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """X [B, T, channels]."""
        lags = self.weight.shape[1]
        padded = functional.pad(x, (0, 0, lags - 1, 0))
        return sum((padded[:, lag : lag + x.shape[1]] * self.weight[:, lag] for lag in range(lags)), start=torch.zeros_like(x))


class PerHead(nn.Module):
    """One learned number a head, expanded over the batch so that its gradient is seen sample by sample."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, batch: int) -> Tensor:
        """[batch, 1, H]."""
        return self.value.expand(batch, 1, -1).clone()


def heads_of(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads * size] as [B, T, heads, size]."""
    return x.unflatten(-1, (heads, -1))


def head_size(width: int, heads: int) -> int:
    """Width / heads, for sizes that are not given. Raises ValueError where it is not whole."""
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads; choose another, or give key_size and value_size")
    return width // heads
