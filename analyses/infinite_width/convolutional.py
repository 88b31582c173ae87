"""Convolutional networks over time, of infinitely many channels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from .network import InfiniteNetwork, Kernels, Layer
from .nonlinearities import Nonlinearity, ReLU


@dataclass(frozen=True)
class ConvolutionalNetwork(InfiniteNetwork, kind="convolutional"):
    """`depth` convolutions of `kernel_size` taps over a ring of positions, then a read-out (Novak et al. 2019,
    arXiv:1810.05148; Arora et al. 2019, arXiv:1904.11955; with and without pooling, Xiao and Pennington).

    The kernel lives on pairs of positions: a convolution averages it along the diagonal,
    (A K)[t, t'] = sum_d K[t + d, t' + d] / kernel_size, so S_{l+1} = w A V(S_l), T_{l+1} = S_{l+1} + w A (V'(S_l) T_l).

    pooling: True reads the mean over positions, and all pairs of positions count; the function then does not change when a
        sequence is shifted. False reads every position with weights of its own, and only equal positions meet.
    """

    axes = ("sample", "position", "features")

    least: ClassVar[dict[str, int]] = {"depth": 1, "kernel_size": 1}

    depth: int = 1
    kernel_size: int = 3
    nonlinearity: Nonlinearity = ReLU()
    weight_variance: float = 2.0
    pooling: bool = True

    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        w, f, size = self.weight_variance, self.nonlinearity, first.shape[2]
        cross = w * self._average(torch.einsum("ntd,msd->nmts", first, second) / size)
        own = [w * self._average_positions(inputs.square().sum(2) / size) for inputs in (first, second)]
        layer = Layer(cross, own[0][:, None, :, None], own[1][None, :, None, :], cross)
        for _ in range(self.depth - 1):
            covariance, derivative = f.expectations(layer.cross, layer.first, layer.second)
            cross, back = w * self._average(covariance), derivative * layer.tangent
            own = [w * self._average_positions(f.variance(part.flatten(2).flatten(0, 1))) for part in (layer.first, layer.second)]
            layer = Layer(cross, own[0][:, None, :, None], own[1][None, :, None, :], cross + w * self._average(back))
        nngp, derivative = f.expectations(layer.cross, layer.first, layer.second)
        ntk = nngp + derivative * layer.tangent
        return Kernels(self._read(nngp), self._read(ntk))

    def _average(self, kernel: Tensor) -> Tensor:
        """The mean along the diagonal of a ring, added up piece by piece: rolled copies would take three times as long."""
        total, size = torch.zeros_like(kernel), kernel.shape[-1]
        for shift in range(-(self.kernel_size // 2), self.kernel_size - self.kernel_size // 2):
            first = shift % size
            pieces = [(slice(0, size - first), slice(first, size)), (slice(size - first, size), slice(0, first))]
            for (row, from_row), (column, from_column) in product(pieces, pieces):
                total[..., row, column] += kernel[..., from_row, from_column]
        return total / self.kernel_size

    def _average_positions(self, variance: Tensor) -> Tensor:
        shifts = range(-(self.kernel_size // 2), self.kernel_size - self.kernel_size // 2)
        return torch.stack([variance.roll(-d, 1) for d in shifts]).mean(0)

    def _read(self, kernel: Tensor) -> Tensor:
        return kernel.mean((2, 3)) if self.pooling else kernel.diagonal(dim1=2, dim2=3).mean(-1)

    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        return _Convolutional(self, inputs[0], inputs[1], width, generator)


class _Convolutional(nn.Module):
    def __init__(
        self, network: ConvolutionalNetwork, positions: int, inputs: int, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = network
        shapes = [(width, inputs if layer == 0 else width, network.kernel_size) for layer in range(network.depth)]
        self.filters = nn.ParameterList(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
        read = (width,) if network.pooling else (positions, width)
        self.read = nn.Parameter(torch.randn(*read, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        x, network = x.transpose(1, 2), self.network
        before = network.kernel_size // 2
        for weight in self.filters:
            scale = (network.weight_variance / (weight.shape[1] * network.kernel_size)) ** 0.5
            padded = nn.functional.pad(x, (before, network.kernel_size - 1 - before), mode="circular")
            x = network.nonlinearity(scale * nn.functional.conv1d(padded, weight))
        channels, positions = x.shape[1:]
        if network.pooling:
            read: Tensor = x.mean(2) @ self.read / channels**0.5
        else:
            read = torch.einsum("nct,tc->n", x, self.read) / (channels * positions) ** 0.5
        return read[:, None]
