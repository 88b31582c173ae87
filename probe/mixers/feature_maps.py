"""Feature maps phi of linear attention: q . k becomes phi(q) . phi(k). Each is a module of [..., d] to [..., size(d)]."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import unknown_name


def taylor(x: Tensor) -> Tensor:
    """phi(x) = [1, x / d^(1/4), (x outer x) / (sqrt 2 sqrt d)], so that phi(q) . phi(k) = 1 + s + s^2 / 2, s = q . k / sqrt d.

    The exponential's second-order expansion (BASED, Arora et al. 2024, arXiv:2402.18668). [..., d] to [..., 1 + d + d^2].
    """
    size = x.shape[-1]
    return torch.cat([torch.ones_like(x[..., :1]), x / size**0.25, _square(x) / sqrt(2 * size)], dim=-1)


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1 > 0 (Katharopoulos et al. 2020, arXiv:2006.16236)."""
    return functional.elu(x) + 1


def exponential(x: Tensor) -> Tensor:
    """e^(x - max x): positive, and finite for any x. The maximum is over the features, so each vector is only rescaled."""
    return (x - x.amax(-1, keepdim=True)).exp()


def _square(x: Tensor) -> Tensor:
    return (x[..., :, None] * x[..., None, :]).flatten(-2)


class FixedMap(nn.Module):
    """A feature map that has no parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Hedgehog(nn.Module):
    """phi(x) = softmax([W x, -W x]) (Zhang et al. 2024, arXiv:2402.04347), which learns softmax's spikes; W starts at 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(size))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        return torch.cat([y, -y], dim=-1).softmax(-1)


class LearnedQuadratic(nn.Module):
    """phi(x) = y outer y with y = gamma norm(x) + b, so that phi(q) . phi(k) = (y_q . y_k)^2 (ReBased, arXiv:2402.10644)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.layer_norm(x, x.shape[-1:]) * self.gain + self.shift
        return _square(y) / y.shape[-1]


FEATURE_MAPS: dict[str, Callable[[int], nn.Module]] = {
    "identity": lambda size: FixedMap(lambda x: x),
    "elu_plus_one": lambda size: FixedMap(elu_plus_one),
    "relu": lambda size: FixedMap(torch.relu),
    "exponential": lambda size: FixedMap(exponential),
    "taylor": lambda size: FixedMap(taylor),
    "hedgehog": Hedgehog,
    "learned_quadratic": LearnedQuadratic,
}
NEVER_ZERO = ("elu_plus_one", "exponential", "taylor", "hedgehog")  # whose scores are positive, and can be normalised


def feature_map(name: str, size: int) -> nn.Module:
    """The map of this name on vectors of `size`. Raises UnknownNameError with the nearest name."""
    if name not in FEATURE_MAPS:
        raise unknown_name("feature map", name, FEATURE_MAPS)
    return FEATURE_MAPS[name](size)


def feature_size(name: str, size: int) -> int:
    """How many features the map makes of `size` channels."""
    made: int = feature_map(name, size)(torch.zeros(size)).shape[-1]
    return made
