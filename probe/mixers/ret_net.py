"""Linear attention with a decay that no token chooses: S_t = e^{g_h} S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

RetNet (Sun et al. 2023, arXiv:2307.08621): rotary q and k, g = log(1 - 2^{-5-h}), a norm of each head and a SiLU gate.
TransNormer (Qin et al. 2023, arXiv:2307.14995): SiLU on q and k, ALiBi's slopes that fall with depth, a norm without gain, and
a sigmoid gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ...kernels.fixed_decay import lightning_log_decay, retnet_log_decay
from ...kernels.precision import widened
from .attention import rotate_on
from .base import Memory, Mixer, RMSNorm
from .heads import HeadMixer, HeadsConfig
from .points import GATE, LOG_DECAY, MATRIX_STATE, QKV, Z
from .recurrences import LINEAR_ATTENTION, Tokens
from .spectrum import FIXED_DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class RetNet(HeadsConfig, kind="ret_net"):
    """RetNet's retention, in which each head's memory decays at a fixed rate, and positions turn q and k."""

    points = (*QKV, LOG_DECAY, *MATRIX_STATE, GATE, Z)

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_DECAYS

    @property
    def turned(self) -> bool:
        return True

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return FixedDecayMixer(self, width, generator, retnet_log_decay(self.heads), functional.silu)


@dataclass(frozen=True)
class TransNormer(HeadsConfig, kind="trans_normer"):
    """TransNormer, or Lightning attention. heads must be a power of two."""

    points = (*QKV, LOG_DECAY, *MATRIX_STATE, GATE, Z)

    @property
    def allowed(self) -> AllowedSpectrum:
        return FIXED_DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        log_decay = lightning_log_decay(self.heads, layer, layers)
        mixer = FixedDecayMixer(self, width, generator, log_decay, torch.sigmoid)
        assert isinstance(mixer.norm, RMSNorm)
        mixer.norm.weight.requires_grad_(False)
        return mixer


class FixedDecayMixer(HeadMixer):
    """The module of RetNet and TransNormer."""

    recurrence = LINEAR_ATTENTION
    log_decay: Tensor

    def __init__(self, config: HeadsConfig, width: int, generator: Generator, log_decay: Tensor, gate: object) -> None:
        super().__init__(config, width, generator, gate=gate)  # type: ignore[arg-type]
        self.register_buffer("log_decay", log_decay.float(), persistent=False)
        self.turned = config.turned

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        if self.turned:
            q, k = rotate_on(q, k, memory)
        else:
            q, k = functional.silu(q), functional.silu(k)
        log_decay = widened(self.log_decay).expand(*x.shape[:2], -1)
        return self.fire(q=q * q.shape[-1] ** -0.5, k=k, v=v, log_decay=log_decay)
