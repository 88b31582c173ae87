"""DeltaNet and its gated and several-key forms.

    S_t = e^{g_t} prod_{j=n..1} (I - beta_tj k_tj k_tj^T) S_{t-1} + writes,     o_t = S_t^T q_t

DeltaNet (Yang et al. 2024, arXiv:2406.06484) has no decay and one key a token; Gated DeltaNet (arXiv:2412.06464) adds the
decay g = -A softplus(W x + b) and an output gate; DeltaProduct (arXiv:2502.10297) takes n keys a token. Keys and queries
are unit vectors. beta = sigmoid(W x), doubled for the eigenvalue range [-1, 1] (Grazzi et al. 2025, arXiv:2411.12537).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...kernels.delta_rule import delta_rule
from ...kernels.effective_attention import effective_attention
from ...kernels.transition import Transition, householder_write
from .base import (
    Mixer,
    MixerConfig,
    PerHead,
    RMSNorm,
    ShortConvolution,
    StateRequest,
    head_size,
    heads_of,
    linear,
    observe,
)


@dataclass(frozen=True)
class DeltaNet(MixerConfig, kind="delta_net"):
    """The delta rule without decay.

    heads: H. key_size, value_size: K and V of each head; None means width / heads.
    householders: n, keys written a token.
    eigenvalue_range: of the transition along a key: [0, 1] or [-1, 1].
    short_convolution: tokens a causal convolution of q, k and v spans; 0 for none.
    """

    heads: int = 4
    key_size: int | None = None
    value_size: int | None = None
    householders: int = 1
    eigenvalue_range: tuple[float, float] = (-1.0, 1.0)
    short_convolution: int = 4

    def __post_init__(self) -> None:
        if self.eigenvalue_range not in ((0.0, 1.0), (-1.0, 1.0)):
            raise ValueError(f"eigenvalue_range must be [0, 1] or [-1, 1], got {list(self.eigenvalue_range)}")
        for name in ("heads", "householders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def build(self, width: int, generator: Generator) -> Mixer:
        return DeltaMixer(self, width, generator, gated=False)


@dataclass(frozen=True)
class GatedDeltaNet(DeltaNet, kind="gated_delta_net"):
    """The delta rule with a scalar decay for each head and an output gate."""

    def build(self, width: int, generator: Generator) -> Mixer:
        return DeltaMixer(self, width, generator, gated=True)


class DeltaMixer(Mixer):
    """The module of DeltaNet and GatedDeltaNet."""

    def __init__(self, config: DeltaNet, width: int, generator: Generator, *, gated: bool) -> None:
        super().__init__(config.kind)
        heads, keys = config.heads, config.householders
        key_size, value_size = (size or head_size(width, heads) for size in (config.key_size, config.value_size))
        self.axis_sizes = {"head": heads, "key": key_size, "value": value_size, "householder": keys}
        self.config = config
        sizes = {"q": heads * key_size, "k": heads * keys * key_size, "v": heads * keys * value_size}
        self.project = nn.ModuleDict({name: linear(width, size, generator) for name, size in sizes.items()})
        span = config.short_convolution
        self.convolve = nn.ModuleDict(
            {name: ShortConvolution(size, span, generator) if span else nn.Identity() for name, size in sizes.items()}
        )
        self.project_beta = linear(width, heads * keys, generator)
        self.norm = RMSNorm(value_size)
        self.project_out = linear(heads * value_size, width, generator)
        self.gated = gated
        if gated:
            self.project_decay = nn.utils.skip_init(nn.Linear, width, heads)
            nn.init.normal_(self.project_decay.weight, std=width**-0.5, generator=generator)
            step = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(0.1), generator=generator))
            self.project_decay.bias.data.copy_(step + torch.log(-torch.expm1(-step)))  # softplus(bias) = step
            self.log_rate = PerHead(torch.empty(heads).uniform_(1, 16, generator=generator).log())
            self.project_gate = linear(width, heads * value_size, generator)

    @property
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""
        return self.project_out.weight.T.unflatten(0, (self.config.heads, -1))

    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        q, k, v = (self._project(x, name) for name in ("q", "k", "v"))
        q = self.hook_q(functional.normalize(q, dim=-1) * q.shape[-1] ** -0.5)
        k, v = self.hook_k(functional.normalize(k, dim=-1)), self.hook_v(v)
        reach = 1 - self.config.eigenvalue_range[0]
        beta = heads_of(self.project_beta(x), self.config.heads).sigmoid()
        beta = self.hook_beta(reach * (beta.squeeze(-1) if self.config.householders == 1 else beta))
        log_decay = self.hook_log_decay(self._log_decay(x)) if self.gated else None
        out = delta_rule(q, k, v, beta, log_decay, taps=request.taps, edits=request.edits)
        if out.states is not None:
            observe(self.hook_state, out.states)
        self._observe(q, k, v, beta, log_decay, out.tap_positions)
        z = self.norm(self.hook_recurrence_out(out.output))
        if self.gated:
            z = z * functional.silu(self.hook_gate(heads_of(self.project_gate(x), self.config.heads)))
        mixed: Tensor = self.project_out(self.hook_z(z).flatten(-2))
        return mixed

    def _project(self, x: Tensor, name: str) -> Tensor:
        y = functional.silu(self.convolve[name](self.project[name](x)))
        y = heads_of(y, self.config.heads)
        return y if name == "q" else self._by_key(y)

    def _by_key(self, y: Tensor) -> Tensor:
        """[B, T, H, n * size] as [B, T, H, n, size], or as it is for one key a token."""
        return y if self.config.householders == 1 else y.unflatten(-1, (self.config.householders, -1))

    def _log_decay(self, x: Tensor) -> Tensor:
        return -self.log_rate(len(x)).exp() * functional.softplus(self.project_decay(x))

    def _observe(self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, taps: tuple[int, ...]) -> None:
        """Fire the hooks that are computed only when asked for."""
        keys, values, rates = (x.unsqueeze(3) if self.config.householders == 1 else x for x in (k, v, beta))
        if self.hook_write.has_hooks() and taps:
            at = torch.tensor(taps, device=k.device)
            observe(self.hook_write, householder_write(*(x.index_select(1, at) for x in (keys, values, rates))))
        if self.hook_transition.has_hooks():
            observe(self.hook_transition, Transition.householders(keys, rates, log_decay))
        if self.hook_effective_attention.has_hooks():
            observe(self.hook_effective_attention, effective_attention(q, k, beta=beta, log_decay=log_decay))
