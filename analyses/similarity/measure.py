"""What every measure of similarity shares: two sets of activations of the same samples, and a number."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ...probe.plugins import Kinds


@dataclass(frozen=True)
class SimilarityMeasure(Kinds, family="similarity measure"):
    """A measure of similarity between representations, 1 for those that it cannot tell apart.

    A class of its own file names its kind and computes `of` from centred float64 matrices whose rows are the same samples.
    """

    @abstractmethod
    def of(self, first: Tensor, second: Tensor) -> float:
        """The similarity of centred activations [n, p] and [n, q]."""

    def __call__(self, first: Tensor, second: Tensor) -> float:
        """The similarity of two sets of activations of the same n samples.

        first, second: [n, ...]; further axes are flattened, and a complex number counts as two real ones.

        Raises ValueError for unequal numbers of samples, fewer than three of them, NaN, or activations that do not vary.
        """
        if len(first) != len(second):
            raise ValueError(f"{len(first)} and {len(second)} samples cannot be compared; both sides need the same samples")
        if len(first) < 3:
            raise ValueError(f"a similarity needs at least 3 samples, got {len(first)}")
        return self.of(centred(first, "first"), centred(second, "second"))


def centred(x: Tensor, what: str) -> Tensor:
    """Activations [n, ...] as a float64 matrix [n, numbers] whose columns have mean zero."""
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    flat = x.reshape(len(x), -1).double()
    if not bool(flat.isfinite().all()):
        raise ValueError(f"the {what} activations hold NaN or infinity")
    flat = flat - flat.mean(0)
    if float(flat.norm()) <= 1e-12 * float(x.double().norm()):
        raise ValueError(f"the {what} activations are the same for every sample, so nothing can be compared")
    return flat
