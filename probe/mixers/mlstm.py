"""mLSTM: C_t = f_t C_{t-1} + i_t k_t v_t^T, n_t = f_t n_{t-1} + i_t k_t, o_t = C_t^T q_t / max(|n_t . q_t|, 1).

Beck et al. 2024 (arXiv:2405.04517): i_t = e^{W x + b}, f_t = sigmoid(W x + b), a norm of each head and a sigmoid gate. The state
is [C, n] e^{-m}, with m the running maximum that keeps it finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ..hooks.points import Point
from .base import Memory, Mixer
from .heads import HeadMixer, HeadsConfig
from .points import GATE, LOG_DECAY, MATRIX_STATE, QKV, TRANSITION, Z, with_normaliser
from .recurrences import MLSTM_RECURRENCE, Tokens
from .spectrum import DECAYS, AllowedSpectrum

SCALED = replace(TRANSITION, holds="transition of the scaled state, f_t e^{m_(t-1) - m_t}, a Transition")
SCALED_STATE = tuple(SCALED if point is TRANSITION else point for point in MATRIX_STATE)


@dataclass(frozen=True)
class MLSTM(HeadsConfig, kind="mlstm"):
    """The LSTM of xLSTM whose state is a matrix."""

    points = (
        *QKV,
        LOG_DECAY,
        Point("attn.hook_log_input", "batch position head", "natural log of the input gate, of any sign"),
        *with_normaliser(SCALED_STATE, "its last column is the normaliser, and all is scaled by e^{-m}"),
        GATE,
        Z,
    )

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return MLSTMMixer(self, width, generator)


class MLSTMMixer(HeadMixer):
    """The module of MLSTM. Forget gates start between sigmoid(3) and sigmoid(6), input gates near e^{-10}."""

    recurrence = MLSTM_RECURRENCE

    def __init__(self, config: MLSTM, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, gate=torch.sigmoid)
        self.axis_sizes |= {"state_value": self.axis_sizes["value"] + 1}
        self.project_input, self.project_forget = (nn.utils.skip_init(nn.Linear, width, config.heads) for _ in range(2))
        for gate, bias in ((self.project_input, torch.full((config.heads,), -10.0)), (self.project_forget, None)):
            nn.init.normal_(gate.weight, std=0.1 * width**-0.5, generator=generator)
            gate.bias.data.copy_(torch.linspace(3, 6, config.heads) if bias is None else bias)

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        log_decay = functional.logsigmoid(self.project_forget(x))
        return self.fire(q=q, k=k * k.shape[-1] ** -0.5, v=v, log_input=self.project_input(x), log_decay=log_decay)
