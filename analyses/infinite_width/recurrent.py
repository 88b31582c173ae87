"""Recurrent networks of infinite width, read out after the last token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .dense import input_layer
from .network import InfiniteNetwork, Kernels, Layer, NTKLinear
from .nonlinearities import Nonlinearity, ReLU


@dataclass(frozen=True)
class RecurrentNetwork(InfiniteNetwork, kind="recurrent"):
    """An Elman network: z_t = W h_{t-1} + U x_t + b, h_t = f(z_t), h_0 = 0; the output is v . h_T.

    Although W is the same at every step, gradients that reach it at different times are uncorrelated at infinite width, so
    only equal times meet (Alemohammad et al. 2021, arXiv:2006.10246; Yang 2020, arXiv:2006.14548). With r, u, s the
    variances of W, U and b and m the number of features:

        S_t = r V(S_{t-1}) + u x_t . x'_t / m + s,   T_t = S_t + r V'(S_{t-1}) T_{t-1},   S_0's V = 0
        nngp = o V(S_T),   ntk = o (V(S_T) + V'(S_T) T_T),  o the read-out's variance.

    It holds for sequences of one length.
    """

    axes = ("sample", "time", "features")

    nonlinearity: Nonlinearity = ReLU()
    recurrent_variance: float = 2.0
    input_variance: float = 1.0
    bias_variance: float = 0.0
    readout_variance: float = 1.0

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        r, f = self.recurrent_variance, self.nonlinearity
        layer = self._input(first[:, 0], second[:, 0])
        for t in range(1, first.shape[1]):
            token = self._input(first[:, t], second[:, t])
            covariance, derivative = f.expectations(layer.cross, layer.first, layer.second)
            cross = token.cross + r * covariance
            tangent = cross + r * derivative * layer.tangent
            own = token.first + r * f.variance(layer.first), token.second + r * f.variance(layer.second)
            layer = Layer(cross, *own, tangent)
        nngp, derivative = f.expectations(layer.cross, layer.first, layer.second)
        ntk = nngp + derivative * layer.tangent
        return Kernels(self.readout_variance * nngp, self.readout_variance * ntk)

    def _input(self, first: Tensor, second: Tensor) -> Layer:
        return input_layer(first, second, self.input_variance, self.bias_variance)

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        return _Recurrent(self, inputs[-1], width, generator)


class _Recurrent(nn.Module):
    def __init__(self, network: RecurrentNetwork, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.nonlinearity = network.nonlinearity
        self.recurrent = NTKLinear(width, width, network.recurrent_variance, 0.0, generator)
        self.input = NTKLinear(inputs, width, network.input_variance, network.bias_variance, generator)
        self.read = NTKLinear(width, 1, network.readout_variance, 0.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        state = self.nonlinearity(self.input(x[:, 0]))
        for t in range(1, x.shape[1]):
            state = self.nonlinearity(self.recurrent(state) + self.input(x[:, t]))
        out: Tensor = self.read(state)
        return out
