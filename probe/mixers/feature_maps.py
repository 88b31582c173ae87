"""Feature maps phi of linear attention: q . k becomes phi(q) . phi(k)."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import elu


def taylor(x: Tensor) -> Tensor:
    """phi(x) = [1, x / d^(1/4), (x outer x) / (sqrt 2 sqrt d)], so that phi(q) . phi(k) = 1 + s + s^2 / 2, s = q . k / sqrt d.

    The exponential's second-order expansion (BASED, Arora et al. 2024, arXiv:2402.18668). [..., d] to [..., 1 + d + d^2].
    """
    size = x.shape[-1]
    square = (x[..., :, None] * x[..., None, :]).flatten(-2) / sqrt(2 * size)
    return torch.cat([torch.ones_like(x[..., :1]), x / size**0.25, square], dim=-1)


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1 > 0 (Katharopoulos et al. 2020, arXiv:2006.16236)."""
    return elu(x) + 1


def exponential(x: Tensor) -> Tensor:
    """e^(x - max x): positive, and finite for any x. The maximum is over the features, so each vector is only rescaled."""
    return (x - x.amax(-1, keepdim=True)).exp()


def identity(x: Tensor) -> Tensor:
    """No map."""
    return x


FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": identity,
    "elu_plus_one": elu_plus_one,
    "relu": torch.relu,
    "exponential": exponential,
    "taylor": taylor,
}
POSITIVE = ("elu_plus_one", "relu", "exponential", "taylor")  # with which scores cannot be negative
