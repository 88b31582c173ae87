"""Selective state spaces: the step Delta_t = softplus(W x + b), the input map B_t and the read-out C_t come from the token.

Mamba (Gu and Dao 2023, arXiv:2312.00752): h_t = e^{Delta_t A} h_{t-1} + Delta_t B_t u_t for each channel of u with N states,
y_t = C_t . h_t + D u_t. Mamba-2 (Dao and Gu 2024, arXiv:2405.21060) has one decay a head, so its state is a matrix:
S_t = e^{Delta_t A_h} S_{t-1} + Delta_t B_t u_t^T. Both: a short convolution, SiLU, and the gate SiLU(W x).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...kernels.precision import widened
from ..hooks.points import Point
from .base import Mixer, MixerConfig, RMSNorm, ShortConvolution, StateRequest, head_size, heads_of, linear, step_bias
from .heads import RecurrentMixer
from .points import DIAGONAL_VECTOR_STATE, GATE, LOG_DECAY, MATRIX_STATE, QKV, STEP, Z
from .recurrences import DIAGONAL_SCAN, LINEAR_ATTENTION
from .spectrum import DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class Mamba(MixerConfig, kind="mamba"):
    """Mamba runs a diagonal state space on each channel, whose step, B and C the token chooses."""

    points = (
        Point("attn.hook_q", "batch position channel", "C_t, what reads the states of each channel"),
        Point("attn.hook_k", "batch position channel", "B_t, how an input enters the states of each channel"),
        Point("attn.hook_v", "batch position head", "input of each channel, after the short convolution"),
        STEP,
        *DIAGONAL_VECTOR_STATE,
        Point("attn.hook_gate", "batch position head", "output gate before its activation"),
        Point("attn.hook_z", "batch position head", "what the output matrix reads, by channel"),
    )

    state_size: int = 16
    """Each channel has N states."""
    expansion: int = 2
    """There are so many channels for each of the width."""
    short_convolution: int = 4
    """A causal convolution of the channels spans so many tokens."""
    step_rank: int | None = None
    """The projection of Delta has this rank; None means width / 16."""
    selective: bool = True
    """Delta, B and C depend on the token; if not, the mixer is time-invariant, as S4 is."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return MambaMixer(self, width, generator)


@dataclass(frozen=True)
class Mamba2(MixerConfig, kind="mamba2"):
    """Mamba-2 runs linear attention whose heads decay by a step that the token chooses."""

    points = (*QKV, STEP, LOG_DECAY, *MATRIX_STATE, GATE, Z)

    heads: int = 4
    """There are H heads."""
    state_size: int = 32
    """The state of a head has N rows, its key side."""
    expansion: int = 2
    """All heads together have so many values for each channel of the width."""
    short_convolution: int = 4
    """A causal convolution of q, k and v spans so many tokens."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return Mamba2Mixer(self, width, generator)


class MambaMixer(RecurrentMixer):
    """The module of Mamba. A starts at -1 .. -N (S4D-real)."""

    recurrence = DIAGONAL_SCAN

    def __init__(self, config: Mamba, width: int, generator: Generator) -> None:
        super().__init__(config.kind, config.points, config.absences)
        self.config, inner, states = config, config.expansion * width, config.state_size
        rank = config.step_rank or max(1, width // 16)
        self.axis_sizes = {"head": inner, "channel": states, "rank": 0}
        self.project = linear(width, inner, generator)
        self.project_gate = linear(width, inner, generator)
        self.convolve = ShortConvolution(inner, config.short_convolution, generator)
        self.project_step = nn.Sequential(linear(inner, rank, generator), linear(rank, inner, generator))
        self.project_k, self.project_q = linear(inner, states, generator), linear(inner, states, generator)
        self.step_bias = nn.Parameter(step_bias(inner, generator))
        self.log_rate = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.project_out = linear(inner, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix, each channel a head: [channels, 1, width]."""
        return self.project_out.weight.T[:, None]

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        u = self.hook_v(functional.silu(self.convolve(self.project(x), request.memory, "v")))
        source = u if self.config.selective else torch.ones_like(u)
        step = self.hook_step(functional.softplus(self.project_step(source) + self.step_bias))
        k, q = self.hook_k(self.project_k(source)), self.hook_q(self.project_q(source))
        decay = (-widened(step)[..., None] * widened(self.log_rate).exp()).exp()  # near 1, where bfloat16 has steps of 1/256
        tokens = self.fire(x=step[..., None] * k[:, :, None] * u[..., None], decay=decay)
        states = self.recur(tokens, request)
        y = (states * q[:, :, None]).sum(-1).to(u.dtype) + self.skip * u
        z = self.hook_z(y * functional.silu(self.hook_gate(self.project_gate(x))))
        mixed: Tensor = self.project_out(z)
        return mixed


class Mamba2Mixer(RecurrentMixer):
    """The module of Mamba2. Heads share B (the keys, before the step) and C (the queries)."""

    recurrence = LINEAR_ATTENTION

    def __init__(self, config: Mamba2, width: int, generator: Generator) -> None:
        super().__init__(config.kind, config.points, config.absences)
        self.config, inner, states, heads = config, config.expansion * width, config.state_size, config.heads
        self.axis_sizes = {"head": heads, "key": states, "value": head_size(inner, heads)}
        sizes = {"v": inner, "k": states, "q": states}
        self.project = nn.ModuleDict({name: linear(width, size, generator) for name, size in sizes.items()})
        span = config.short_convolution
        self.convolve = nn.ModuleDict({name: ShortConvolution(size, span, generator) for name, size in sizes.items()})
        self.project_gate = linear(width, inner, generator)
        self.project_step = linear(width, heads, generator)
        self.step_bias = nn.Parameter(step_bias(heads, generator))
        self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16, generator=generator).log())
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = RMSNorm(inner)
        self.project_out = linear(inner, width, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""
        return self.project_out.weight.T.unflatten(0, (self.config.heads, -1))

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        heads = self.config.heads
        q, k, v = (functional.silu(self.convolve[name](self.project[name](x), request.memory, name)) for name in ("q", "k", "v"))
        step = self.hook_step(functional.softplus(self.project_step(x) + self.step_bias))
        k = step[..., None] * k[:, :, None]
        q = q[:, :, None].expand(-1, -1, heads, -1)
        tokens = self.fire(q=q, k=k, v=heads_of(v, heads), log_decay=-step * self.log_rate.exp())
        y = self.recur(tokens, request) + self.skip[:, None] * tokens["v"]
        gate = self.hook_gate(heads_of(self.project_gate(x), heads))
        z = heads_of(self.norm((y * functional.silu(gate)).flatten(-2)), heads)
        mixed: Tensor = self.project_out(self.hook_z(z).flatten(-2))
        return mixed
