"""The MLP W_out relu(W_in x), with as many parameters as a gated channel mixer of the same expansion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..mixers.base import linear
from .base import ChannelMixer, ChannelMixerConfig


@dataclass(frozen=True)
class MLP(ChannelMixerConfig, kind="mlp"):
    """Two matrices, and 3/2 of the hidden units of a gated mixer, which has three."""

    hidden_share = 1.5

    def build(self, width: int, hidden: int, generator: Generator) -> ChannelMixer:
        return MLPMixer(self, width, hidden, generator)


class MLPMixer(ChannelMixer):
    """The module that applies the MLP."""

    def __init__(self, config: MLP, width: int, hidden: int, generator: Generator) -> None:
        super().__init__(config, hidden)
        self.inward = linear(width, hidden, generator)
        self.outward = linear(hidden, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.outward(self.hook_post(torch.relu(self.hook_pre(self.inward(x)))))
        return mixed
