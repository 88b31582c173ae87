"""Channel mixers: W_out (f(W_gate x) * W_in x), and the MLP W_out f(W_in x).

Shazeer 2020 (arXiv:2002.05202): GLU has f = sigmoid, ReGLU ReLU, GEGLU GELU, SwiGLU SiLU, the bilinear one none. A gated
mixer has three matrices; the MLP of as many parameters has 3/2 of its hidden units.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from ..errors import unknown_name
from ..mixers.base import linear

Activation = Callable[[Tensor], Tensor]

GATES: dict[str, Activation] = {
    "glu": torch.sigmoid,
    "reglu": torch.relu,
    "geglu": functional.gelu,
    "swiglu": functional.silu,
    "bilinear": lambda x: x,
}
CHANNEL_MIXERS = ("mlp", *GATES)


def hidden_size(name: str, width: int, expansion: float) -> int:
    """Hidden units, a multiple of 8: expansion * width of a gated mixer, 3/2 of that of the MLP."""
    if name not in CHANNEL_MIXERS:
        raise unknown_name("channel mixer", name, CHANNEL_MIXERS)
    return 8 * round((1.5 if name == "mlp" else 1.0) * expansion * width / 8)


def channel_mixer(name: str, width: int, hidden: int, generator: Generator) -> ChannelMixer:
    """The module of this name."""
    return MLP(width, hidden, generator) if name == "mlp" else GatedLinearUnit(GATES[name], width, hidden, generator)


class ChannelMixer(nn.Module):
    """What channel mixers share: `outward`, the matrix that reads their hidden units."""

    outward: nn.Linear

    @property
    def W_out(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix, [hidden, width]."""
        return self.outward.weight.T


class MLP(ChannelMixer):
    """W_out relu(W_in x)."""

    def __init__(self, width: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.inward = linear(width, hidden, generator)
        self.outward = linear(hidden, width, generator)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.outward(self.hook_post(torch.relu(self.hook_pre(self.inward(x)))))
        return mixed


class GatedLinearUnit(ChannelMixer):
    """W_out (f(W_gate x) * W_in x)."""

    def __init__(self, activation: Activation, width: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.activation = activation
        self.gate = linear(width, hidden, generator)
        self.inward = linear(width, hidden, generator)
        self.outward = linear(hidden, width, generator)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hook_post(self.activation(self.hook_pre(self.gate(x))) * self.inward(x))
        mixed: Tensor = self.outward(hidden)
        return mixed

    def interactions(self) -> Tensor:
        """B [width, width, width], symmetric in its last two axes, with output_k = x^T B_k x for the bilinear mixer.

        B_kij = sum_h W_out[k, h] (W_gate[h, i] W_in[h, j] + W_gate[h, j] W_in[h, i]) / 2. Raises ValueError for another gate.
        """
        if self.activation is not GATES["bilinear"]:
            raise ValueError("only the bilinear channel mixer is a quadratic form of its input")
        tensor = torch.einsum("kh,hi,hj->kij", self.outward.weight, self.gate.weight, self.inward.weight)
        return (tensor + tensor.mT) / 2
