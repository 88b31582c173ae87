"""Canonical correlations: what two representations hold in common, whatever its scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .measure import SimilarityMeasure


@dataclass(frozen=True)
class CanonicalCorrelation(SimilarityMeasure, kind="svcca"):
    """The mean canonical correlation of the leading principal components (SVCCA, Raghu et al. 2017, arXiv:1706.05806).

    variance: the share of each side's variance that its components hold. 1 keeps all, which is plain CCA; then as many samples as
        features make any two sides alike, which is refused.
    weighted: weigh each correlation by how much of the first side it accounts for (PWCCA, Morcos et al. 2018, arXiv:1806.05759);
        the measure is then not
        symmetric, and depends on the basis of the first side.
    """

    variance: float = 0.99
    weighted: bool = False

    def of(self, first: Tensor, second: Tensor) -> float:
        (one, kept), (two, _) = self._components(first), self._components(second)
        if one.shape[1] + two.shape[1] >= len(first):
            raise ValueError(
                f"{one.shape[1]} and {two.shape[1]} components of {len(first)} samples correlate whatever they are; give more "
                "samples or a smaller share of the variance"
            )
        left, correlations, _ = torch.linalg.svd(one.T @ two, full_matrices=False)
        correlations = correlations.clamp(max=1)
        if not self.weighted:
            return float(correlations.mean())
        weights = (kept.T @ (one @ left)).abs().sum(0)
        return float((weights * correlations).sum() / weights.sum())

    def _components(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Orthonormal scores of the components [n, k], and the activations as these components give them."""
        u, s, vh = torch.linalg.svd(x, full_matrices=False)
        share = s.square().cumsum(0) / s.square().sum()
        count = int((share < self.variance - 1e-12).sum()) + 1
        count = min(count, int((s > 1e-10 * s[0]).sum()))
        return u[:, :count], (u[:, :count] * s[:count]) @ vh[:count]
