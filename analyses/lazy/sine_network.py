"""Networks of sines over one coordinate, and the noise that lets them begin with high frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SineNetwork(nn.Module):
    """x [N, d] to [N, 1] by `depth` layers sin(frequency (W x + b)) and a linear map, in float64 (Sitzmann et al. 2020,
    arXiv:2006.09661).

    The first weights are uniform within 1 / inputs, the others within sqrt(6 / inputs) / frequency, so that what enters a sine
    has about unit variance at every depth.
    """

    def __init__(self, inputs: int, width: int, depth: int, generator: torch.Generator, frequency: float = 30.0) -> None:
        super().__init__()
        sizes, self.frequency = [inputs, *([width] * depth), 1], frequency
        bounds = [1 / inputs, *((6 / size) ** 0.5 / frequency for size in sizes[1:-1])]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for index, bound in enumerate(bounds):
            shape = (sizes[index + 1], sizes[index])
            self.weights.append(bound * (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1))
            self.biases.append(torch.zeros(shape[0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The values at coordinates x [N, d]."""
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            x = (self.frequency * (x @ weight.T + bias)).sin()
        out: Tensor = x @ last[0].T + last[1]
        return out

    @torch.no_grad()
    def add_noise_(self, first: float, second: float, generator: torch.Generator) -> SineNetwork:
        """Add N(0, (s / frequency)^2) to the weights of the first two layers, s being `first` and `second`, in place.

        The spectrum of what the layers give widens with s, and that of the tangent kernel's eigenvectors with it
        (Chandravamsi et al. 2025, arXiv:2509.09719). Raises ValueError for a network without a second layer.
        """
        if len(self.weights) < 3:
            raise ValueError("noise goes into the first two layers of sines; this network has one")
        for weight, scale in zip(self.weights, (first, second), strict=False):
            weight += scale / self.frequency * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        return self


def spectral_centroid(signal: Tensor) -> float:
    """The mean frequency of a signal [N], in cycles over its length, weighted by amplitude: sum_k k |F_k| / sum_k |F_k|.

    The mean of the signal is taken off first; NaN for one that is constant.
    """
    sizes = torch.fft.rfft(signal.double() - signal.double().mean()).abs()
    return float((torch.arange(len(sizes)) * sizes).sum() / sizes.sum()) if float(sizes.sum()) > 0 else math.nan
