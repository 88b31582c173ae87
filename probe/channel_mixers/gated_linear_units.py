"""Gated channel mixers: W_out (f(W_gate x) * W_in x).

Shazeer 2020 (arXiv:2002.05202): GLU has f = sigmoid, ReGLU ReLU, GEGLU GELU, SwiGLU SiLU, the bilinear one none.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ..mixers.base import linear
from .base import ChannelMixer, ChannelMixerConfig


@dataclass(frozen=True)
class GatedLinearUnit(ChannelMixerConfig):
    """Base of the five, which differ in the activation of the gate."""

    @abstractmethod
    def activation(self, gate: Tensor) -> Tensor:
        """Apply f to the pre-activation of the gate."""

    def build(self, width: int, hidden: int, generator: Generator) -> ChannelMixer:
        return GatedLinearUnitMixer(self, width, hidden, generator)


@dataclass(frozen=True)
class GLU(GatedLinearUnit, kind="glu"):
    """The gate passes through f = sigmoid."""

    def activation(self, gate: Tensor) -> Tensor:
        return torch.sigmoid(gate)


@dataclass(frozen=True)
class ReGLU(GatedLinearUnit, kind="reglu"):
    """The gate passes through f = ReLU."""

    def activation(self, gate: Tensor) -> Tensor:
        return torch.relu(gate)


@dataclass(frozen=True)
class GEGLU(GatedLinearUnit, kind="geglu"):
    """The gate passes through f = GELU."""

    def activation(self, gate: Tensor) -> Tensor:
        return functional.gelu(gate)


@dataclass(frozen=True)
class SwiGLU(GatedLinearUnit, kind="swiglu"):
    """The gate passes through f = SiLU."""

    def activation(self, gate: Tensor) -> Tensor:
        return functional.silu(gate)


@dataclass(frozen=True)
class Bilinear(GatedLinearUnit, kind="bilinear"):
    """The gate stays as it is, f(x) = x, so that each output is a quadratic form of the input."""

    def activation(self, gate: Tensor) -> Tensor:
        return gate

    def build(self, width: int, hidden: int, generator: Generator) -> ChannelMixer:
        return BilinearMixer(self, width, hidden, generator)


class GatedLinearUnitMixer(ChannelMixer):
    """The module that applies a gated linear unit; all five share it, and differ in f."""

    def __init__(self, config: GatedLinearUnit, width: int, hidden: int, generator: Generator) -> None:
        super().__init__(config, hidden)
        self.config = config
        self.gate = linear(width, hidden, generator)
        self.inward = linear(width, hidden, generator)
        self.outward = linear(hidden, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hook_post(self.config.activation(self.hook_pre(self.gate(x))) * self.inward(x))
        mixed: Tensor = self.outward(hidden)
        return mixed


class BilinearMixer(GatedLinearUnitMixer):
    """The module that applies the bilinear unit, whose interactions have a closed form."""

    def interactions(self) -> Tensor:
        """B [width, width, width], symmetric in its last two axes, with output_k = x^T B_k x.

        B_kij = sum_h W_out[k, h] (W_gate[h, i] W_in[h, j] + W_gate[h, j] W_in[h, i]) / 2.
        """
        tensor = torch.einsum("kh,hi,hj->kij", self.outward.weight, self.gate.weight, self.inward.weight)
        return (tensor + tensor.mT) / 2
