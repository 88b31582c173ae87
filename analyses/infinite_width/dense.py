"""Fully connected networks of infinite width, with or without a residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .network import InfiniteNetwork, Kernels, Layer, NTKLinear
from .nonlinearities import Nonlinearity, ReLU


@dataclass(frozen=True)
class DenseNetwork(InfiniteNetwork, kind="dense"):
    """`depth` hidden layers (Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2018, arXiv:1711.00165).

    With V and V' the expectations of the nonlinearity, w the variance of weights and s of biases:
    S_1 = w x . x' / d + s, S_{l+1} = w V(S_l) + s; T_1 = S_1, T_{l+1} = S_{l+1} + w V'(S_l) T_l.
    """

    depth: int = 1
    nonlinearity: Nonlinearity = ReLU()
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        layer = input_layer(first, second, self.weight_variance, self.bias_variance)
        for _ in range(self.depth):
            layer = self.next(layer)
        return Kernels(layer.cross, layer.tangent)

    def next(self, layer: Layer) -> Layer:
        """A nonlinearity and the weights behind it."""
        w, s, f = self.weight_variance, self.bias_variance, self.nonlinearity
        covariance, derivative = f.expectations(layer.cross, layer.first, layer.second)
        cross = w * covariance + s if s else w * covariance
        tangent = torch.addcmul(cross, derivative, layer.tangent, value=w)
        return Layer(cross, w * f.variance(layer.first) + s, w * f.variance(layer.second) + s, tangent)

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        sizes = [*inputs, *([width] * self.depth), 1]
        return _Dense(self, [self._map(sizes[i], sizes[i + 1], generator) for i in range(self.depth + 1)])

    def _map(self, inputs: int, outputs: int, generator: torch.Generator) -> NTKLinear:
        return NTKLinear(inputs, outputs, self.weight_variance, self.bias_variance, generator)


class _Dense(nn.Module):
    def __init__(self, network: DenseNetwork, maps: list[NTKLinear]) -> None:
        super().__init__()
        self.nonlinearity, self.maps = network.nonlinearity, nn.ModuleList(maps)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.maps[:-1]:
            x = self.nonlinearity(layer(x))
        out: Tensor = self.maps[-1](x)
        return out


@dataclass(frozen=True)
class ResidualNetwork(InfiniteNetwork, kind="residual"):
    """`depth` residual branches h <- h + sqrt(branch / depth) W f(h), whose kernels have a limit in depth as well.

    S_{l+1} = S_l + (branch / depth) w V(S_l), T_{l+1} = T_l + (branch / depth) w (V(S_l) + V'(S_l) T_l), which as depth grows
    follow the differential equations dS/dt = branch w V(S), dT/dt = branch w (V(S) + V'(S) T) over t in [0, 1] (Hayou et
    al. 2021, arXiv:2010.12859). A linear map reads the stream out at the end.
    """

    least: ClassVar[dict[str, int]] = {"depth": 1}

    depth: int = 8
    branch: float = 1.0
    nonlinearity: Nonlinearity = ReLU()
    weight_variance: float = 2.0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        layer, f = input_layer(first, second, self.weight_variance, 0.0), self.nonlinearity
        step = self.branch / self.depth * self.weight_variance
        for _ in range(self.depth):
            added, slope = f.expectations(layer.cross, layer.first, layer.second)
            layer = Layer(
                layer.cross + step * added,
                layer.first + step * f.variance(layer.first),
                layer.second + step * f.variance(layer.second),
                layer.tangent + step * (added + slope * layer.tangent),
            )
        return Kernels(layer.cross, layer.cross + layer.tangent)

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        return _Residual(self, inputs[0], width, generator)


class _Residual(nn.Module):
    def __init__(self, network: ResidualNetwork, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.nonlinearity = network.nonlinearity
        variance = network.branch / network.depth * network.weight_variance
        self.embed = NTKLinear(inputs, width, network.weight_variance, 0.0, generator)
        self.branches = nn.ModuleList(NTKLinear(width, width, variance, 0.0, generator) for _ in range(network.depth))
        self.read = NTKLinear(width, 1, 1.0, 0.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for branch in self.branches:
            x = x + branch(self.nonlinearity(x))
        out: Tensor = self.read(x)
        return out


def input_layer(first: Tensor, second: Tensor, weight_variance: float, bias_variance: float) -> Layer:
    """The first linear map, of inputs [N, d] and [M, d]."""
    size = first.shape[1]
    cross = weight_variance / size * (first @ second.T) + bias_variance
    own = [weight_variance / size * inputs.square().sum(1) + bias_variance for inputs in (first, second)]
    return Layer(cross, own[0][:, None], own[1][None, :], cross)
