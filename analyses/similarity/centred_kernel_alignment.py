"""Centred kernel alignment with linear kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .measure import SimilarityMeasure


@dataclass(frozen=True)
class CentredKernelAlignment(SimilarityMeasure, kind="cka"):
    """|X^T Y|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred X and Y (Kornblith et al. 2019, arXiv:1905.00414).

    It does not change when either side is rotated or scaled as a whole. Between independent Gaussians it is near
    p / (n - 1 + p + 1) and not 0, so that many features and few samples look alike whatever they are.

    debiased: estimate the same ratio from U-statistics, whose mean is 0 for independent activations and which can be negative
        (Song et al. 2007; Nguyen et al. 2021, arXiv:2010.15327). The default, since the bias misleads.
    """

    debiased: bool = True

    def of(self, first: Tensor, second: Tensor) -> float:
        if not self.debiased:
            cross, own, other = (first.T @ second).norm(), (first.T @ first).norm(), (second.T @ second).norm()
            return float(cross**2 / (own * other))
        if len(first) < 4:
            raise ValueError("debiased CKA needs at least 4 samples")
        one, two = (_without_diagonal(x @ x.T) for x in (first, second))
        own, other = float((one * one).sum()), float((two * two).sum())
        return float((one * two).sum() / (own * other) ** 0.5)


def _without_diagonal(gram: Tensor) -> Tensor:
    """The U-centred kernel of Szekely and Rizzo 2014: off the diagonal its rows sum to 0; products are unbiased."""
    n = len(gram)
    gram = gram - torch.diag(gram.diagonal())
    rows = gram.sum(1, keepdim=True) / (n - 2)
    centred = gram - rows - rows.T + gram.sum() / ((n - 1) * (n - 2))
    return centred - torch.diag(centred.diagonal())
