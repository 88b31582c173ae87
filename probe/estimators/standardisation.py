"""Features less their mean, over their standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...kernels.shown import with_shapes

ROUNDINGS = 16  # of a number, that may have gone into a feature


@dataclass(frozen=True)
class Standardisation:
    """The mean [D] and the standard deviation [D] of features, in float64; the latter is infinite for a constant feature, which
    then counts for nothing.
    """

    mean: Tensor
    scale: Tensor

    __repr__ = with_shapes

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Measure features [N, D]. Raises ValueError for those that are not finite, TypeError for complex ones."""
        wide = real(features).double()
        mean = finite_mean(wide.mean(0))
        return cls(mean, scale_of((wide - mean).square().mean(0), mean, _precise(features)))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardise features [n, D]: in float64 where they are, else in float32. Raises ValueError for another D."""
        of_width(features, len(self.mean))
        precise = _precise(features)
        return (real(features).to(precise) - self.mean.to(precise)) / self.scale.to(precise)

    def on_activations(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [M, D] and intercepts [M] on standardised features, as those on the activations as they are."""
        raw = weights.double() / self.scale
        return raw, intercepts.double() - raw @ self.mean


def scale_of(variances: Tensor, mean: Tensor, dtype: torch.dtype) -> Tensor:
    """The standard deviations [D] of features of a dtype with these variances and means; infinite where they are constant, up to
    rounding, in which a probe could read what an eraser took out.

    Raises ValueError for variances that are not finite, of features too large to be squared.
    """
    if not bool(variances.isfinite().all()):
        raise ValueError("the squares of these features are not finite; divide all features by one large number")
    scale = variances.clamp(min=0).sqrt()
    noise = ROUNDINGS * torch.finfo(dtype).eps * mean.abs() + 1e-12 * scale.max().clamp(min=1e-300)
    return torch.where(scale > noise, scale, torch.inf)


def finite_mean(mean: Tensor) -> Tensor:
    """Give the mean of features back. Raises ValueError where it shows that some are not finite."""
    if not bool(mean.isfinite().all()):
        raise ValueError("features must be finite; leave out, or mend, samples with nan or infinity")
    return mean


def finite_features(features: Tensor) -> Tensor:
    """Give features [N, D] in float64. Raises TypeError for complex ones, ValueError where some are not finite."""
    wide = real(features).double()
    finite_mean(wide.mean(0))
    return wide


def varying(features: Tensor) -> Tensor:
    """Features [N, D] less their mean, in float64, and 0 where they are constant up to rounding, of which no direction is made.

    Raises TypeError for complex features, ValueError where some are not finite.
    """
    found = Standardisation.of(features)
    return (features.double() - found.mean) * found.scale.isfinite()


def of_width(features: Tensor, width: int) -> Tensor:
    """Give features [..., D] back. Raises ValueError where D is not `width`: one feature would be spread over all."""
    if features.shape[-1:] != (width,):
        raise ValueError(f"features are {tuple(features.shape)}; this probe reads [n, {width}]")
    return features


def real(features: Tensor) -> Tensor:
    """Give features back. Raises TypeError for complex ones, whose imaginary parts would be lost."""
    if features.is_complex():
        raise TypeError("features are complex; give their real and imaginary parts side by side, as captures have them")
    return features


def _precise(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 or not features.is_floating_point() else torch.float32
