"""Convolutional networks whose patches do not overlap: a tree over positions, of infinitely many channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from .network import InfiniteNetwork, Kernels, Layer
from .nonlinearities import Nonlinearity, ReLU


@dataclass(frozen=True)
class HierarchicalNetwork(InfiniteNetwork, kind="hierarchical"):
    """Convolutions with a stride of their own size, until one position is left, which is read out (Cagnetta, Favero and Wyart
    2023, arXiv:2208.01003).

    Layer l merges patches[l] neighbouring positions p into one, S_{l+1} = w mean_p V(S_l(p)),
    T_{l+1} = S_{l+1} + w mean_p V'(S_l(p)) T_l(p). Only positions with themselves meet, so that the kernel is a tree of kernels:
    a function of few neighbouring positions is learnt as fast however many positions there are.

    patches: of each layer, from the inputs on; their product is the number of positions.
    """

    axes = ("sample", "position", "features")

    patches: tuple[int, ...] = (2, 2)
    nonlinearity: Nonlinearity = ReLU()
    weight_variance: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.patches or min(self.patches) < 1:
            raise ValueError(f"{self.kind}: patches={self.patches} must be positive numbers, one at least")

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        w, f, size = self.weight_variance, self.nonlinearity, first.shape[2]
        cross = torch.einsum("npd,mpd->nmp", first, second) / size
        own = [inputs.square().sum(2) / size for inputs in (first, second)]
        cross, a, b = (w * self._merged(part, 0) for part in (cross, own[0][:, None], own[1][None]))
        layer = Layer(cross, a, b, cross)
        for depth in range(1, len(self.patches)):
            back = f.derivative(layer.cross, layer.first, layer.second) * layer.tangent
            through = (f.covariance(layer.cross, layer.first, layer.second), f.variance(layer.first), f.variance(layer.second))
            cross, a, b = (w * self._merged(part, depth) for part in through)
            layer = Layer(cross, a, b, cross + w * self._merged(back, depth))
        layer = Layer._make(part[..., 0] for part in layer)
        nngp = f.covariance(layer.cross, layer.first, layer.second)
        return Kernels(nngp, nngp + f.derivative(layer.cross, layer.first, layer.second) * layer.tangent)

    def _merged(self, kernel: Tensor, depth: int) -> Tensor:
        """The mean over each patch of the last axis."""
        merged: Tensor = kernel.unflatten(-1, (-1, self.patches[depth])).mean(-1)
        return merged

    def check(self, inputs: Tensor) -> None:
        """Raise ValueError for inputs with other axes, or another number of positions than the patches have."""
        super().check(inputs)
        if inputs.shape[1] != prod(self.patches):
            raise ValueError(f"patches {self.patches} take {prod(self.patches)} positions, got inputs {tuple(inputs.shape)}")

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        return _Hierarchical(self, inputs[1], width, generator)


class _Hierarchical(nn.Module):
    def __init__(self, network: HierarchicalNetwork, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = network
        shapes = [(width, inputs if layer == 0 else width, patch) for layer, patch in enumerate(network.patches)]
        self.filters = nn.ParameterList(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
        self.read = nn.Parameter(torch.randn(width, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        x, network = x.transpose(1, 2), self.network
        for weight in self.filters:
            scale = (network.weight_variance / weight[0].numel()) ** 0.5
            x = network.nonlinearity(scale * nn.functional.conv1d(x, weight, stride=weight.shape[2]))
        read: Tensor = x[..., 0] @ self.read / len(self.read) ** 0.5
        return read[:, None]
