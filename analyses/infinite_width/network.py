"""A network as its width goes to infinity: what it predicts, and how one of finite width is drawn to compare it with."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from math import inf, prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...kernels.arguments import check_finite
from ...probe.plugins import Kinds

TILE = 128  # rows and columns of a tile, of inputs without positions
LARGEST = 1e70  # of an input's numbers, and of their reciprocals: fourth powers are then numbers of float64


class Kernels(NamedTuple):
    """The two kernels of a network with one output, each [N, M].

    nngp: covariance of the outputs over initialisations (the neural network Gaussian process).
    ntk: inner product of the outputs' gradients, which does not depend on the initialisation at infinite width.
    """

    nngp: Tensor
    ntk: Tensor


class Layer(NamedTuple):
    """What one layer passes on: a kernel of pre-activations between two sets of inputs, and each set's own variances.

    cross: covariance between the sets. first, second: variances, which broadcast against `cross`. tangent: the tangent
    kernel of the network up to here, between the sets.
    """

    cross: Tensor
    first: Tensor
    second: Tensor
    tangent: Tensor


@dataclass(frozen=True)
class InfiniteNetwork(Kinds, family="infinite network"):
    """A family of networks whose kernels at infinite width are known, in the NTK parametrisation.

    Every weight is drawn from N(0, 1) and multiplied by sqrt(weight_variance / fan_in) in the forward pass, every bias by
    sqrt(bias_variance) (Jacot et al. 2018, arXiv:1806.07572).

    axes: of its inputs.
    """

    axes: ClassVar[tuple[str, ...]] = ("sample", "features")
    least: ClassVar[dict[str, int]] = {}
    """The fields that must be at least so much; every number must at least not be negative, and a count be whole."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not self.least.get(one.name, 0) <= value < inf:
                raise ValueError(f"{self.kind}: {one.name}={value} must be at least {self.least.get(one.name, 0)}, and finite")
            if isinstance(one.default, int) and not isinstance(value, int):
                raise ValueError(f"{self.kind}: {one.name}={value} must be a whole number")

    def check(self, inputs: Tensor) -> None:
        """Raise ValueError for inputs with other axes than the network takes."""
        if inputs.ndim != len(self.axes):
            raise ValueError(f"{self.kind}: it takes inputs [{', '.join(self.axes)}], got {tuple(inputs.shape)}")

    @abstractmethod
    def kernels(self, first: Tensor, second: Tensor) -> Kernels:
        """The kernels between inputs [N, ...] and [M, ...], in float64, each entry from its two inputs alone."""

    @abstractmethod
    def finite(self, inputs: tuple[int, ...], width: int, generator: torch.Generator) -> nn.Module:
        """A network of this family with `width` units a layer, for inputs of the shape `inputs`: [N, *inputs] to [N, 1]."""


def infinite_width_kernels(network: InfiniteNetwork, first: Tensor, second: Tensor | None = None) -> Kernels:
    """The kernels of a network of infinite width, between two sets of inputs or of one with itself.

    network: such as DenseNetwork(depth=3, nonlinearity=ReLU()) or RecurrentNetwork(nonlinearity=Erf()).
    first: [N, ...], inputs of the network's own axes: [N, features] or, for sequences, [N, time, features].
    second: [M, ...]; left out, it is `first`.

    Raises ValueError for inputs that are no real numbers, whose shapes differ or are not the network's, that are empty, or whose
    fourth powers leave the range of float64 (kernels multiply two variances); and NonFiniteError, with the place, for NaN and
    infinity.
    """
    second = None if second is first else second
    for inputs in [first] if second is None else [first, second]:
        if not inputs.is_floating_point():
            raise ValueError(f"inputs must be real numbers, got {inputs.dtype}; embed tokens first")
        if inputs.numel() == 0:
            raise ValueError(f"inputs {tuple(inputs.shape)} are empty: every axis needs one entry at least")
        check_finite(inputs=inputs)
        _check_range(inputs)
    if second is not None and first.shape[1:] != second.shape[1:]:
        raise ValueError(f"inputs of shapes {tuple(first.shape[1:])} and {tuple(second.shape[1:])} cannot be compared")
    network.check(first)
    return _by_tiles(network, first.double(), None if second is None else second.double())


def _check_range(inputs: Tensor) -> None:
    sizes = inputs.double().abs().amax(-1)
    sizes = sizes[sizes > 0]
    if len(sizes) and not (float(sizes.min()) > 1 / LARGEST and float(sizes.max()) < LARGEST):
        raise ValueError(
            f"inputs have entries of size {float(sizes.min()):.3g} to {float(sizes.max()):.3g}, whose fourth powers leave the "
            "range of float64; scale them to about 1"
        )


def _by_tiles(network: InfiniteNetwork, first: Tensor, second: Tensor | None) -> Kernels:
    """The kernels tile by tile, each of which stays in a processor's cache; of one set with itself the upper half alone.

    What a network says of two inputs depends on no other input, so a tile is a call of its own.
    """
    size = max(1, TILE // prod(first.shape[1:-1]))
    rows = first.split(size)
    columns = rows if second is None else second.split(size)
    found: list[list[Kernels]] = []
    for i, row in enumerate(rows):
        below = [Kernels(*(kernel.mT for kernel in found[j][i])) for j in range(i)] if second is None else []
        found.append(below + [network.kernels(row, column) for column in columns[len(below) :]])
    return Kernels(*(torch.cat([torch.cat([tile[which] for tile in row], 1) for row in found]) for which in range(2)))


class NTKLinear(nn.Module):
    """A linear map in the NTK parametrisation: sqrt(weight_variance / inputs) W x + sqrt(bias_variance) b, W and b ~ N(0, 1)."""

    def __init__(
        self, inputs: int, outputs: int, weight_variance: float, bias_variance: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(outputs, generator=generator, dtype=torch.float64)) if bias_variance else None
        self.scales = (weight_variance / inputs) ** 0.5, bias_variance**0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., inputs] to [..., outputs]."""
        out: Tensor = self.scales[0] * (x @ self.weight.T)
        return out if self.bias is None else out + self.scales[1] * self.bias
