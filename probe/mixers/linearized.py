"""Linear attention that takes over the projections of a softmax layer (see `models/linearize.py`).

"gla" (Liger, Lan et al. 2025, arXiv:2503.01496): S_t = a_t S_{t-1} + softmax(k_t) v_t^T, o_t = S_t^T softmax(q_t), with the gate
a_t = sigmoid(mean of k_t)^(1/16) of each head, which has no parameters of its own. "mamba" (Wang et al. 2024, arXiv:2408.15237):
S_t = e^{-step_t A} S_{t-1} + step_t k_t v_t^T, o_t = S_t^T q_t / sqrt(K), with a learned step and A. Both turn q and k by rotary
positions, as the softmax layer did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from .attention import rotate_on
from .base import Memory, Mixer
from .heads import HeadMixer, HeadsConfig
from .points import LOG_DECAY, MATRIX_STATE, QKV, Z
from .recurrences import LINEAR_ATTENTION, Tokens
from .spectrum import DECAYS, AllowedSpectrum


@dataclass(frozen=True)
class Linearized(HeadsConfig, kind="linearized"):
    """A linear mixer that takes over a softmax layer's projections."""

    points = (*QKV, LOG_DECAY, *MATRIX_STATE, Z)

    form: Literal["gla", "mamba"] = "gla"
    """It is one of the two above, "gla" or "mamba"."""

    @property
    def allowed(self) -> AllowedSpectrum:
        return DECAYS

    @property
    def turned(self) -> bool:
        return True

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return MODULES[self.form](self, width, generator, norm=lambda size: nn.Identity())


class LigerMixer(HeadMixer):
    """The module of the form "gla": the softmax layer's matrices, and nothing else."""

    recurrence = LINEAR_ATTENTION

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        q, k = rotate_on(q, k, memory)
        log_decay = functional.logsigmoid(k.mean(-1)) / 16
        return self.fire(q=q.softmax(-1), k=k.softmax(-1), v=v, log_decay=log_decay)


class SteppedMixer(HeadMixer):
    """The module of the form "mamba": the softmax layer's matrices, and learned steps and rates."""

    recurrence = LINEAR_ATTENTION

    def __init__(self, config: Linearized, width: int, generator: Generator, **settings: Any) -> None:
        super().__init__(config, width, generator, **settings)
        self.project_step = nn.Linear(width, config.heads)
        nn.init.zeros_(self.project_step.weight)
        nn.init.constant_(self.project_step.bias, 0.5413)  # softplus of it is 1
        self.log_rate = nn.Parameter(torch.full((config.heads,), -4.0))

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        q, k = rotate_on(q, k, memory)
        step = functional.softplus(self.project_step(x))
        log_decay = -step * self.log_rate.exp()
        return self.fire(q=q * q.shape[-1] ** -0.5, k=step[..., None] * k, v=v, log_decay=log_decay)


MODULES: dict[str, type[HeadMixer]] = {"gla": LigerMixer, "mamba": SteppedMixer}
