"""Representational similarity analysis: do the same pairs of samples lie far apart?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from scipy.stats import rankdata
from torch import Tensor

from .measure import SimilarityMeasure


@dataclass(frozen=True)
class RepresentationalSimilarity(SimilarityMeasure, kind="rsa"):
    """The correlation of the two matrices of distances between samples, over pairs (Kriegeskorte et al. 2008).

    correlation: "spearman", of ranks, which asks only for the order of distances; or "pearson".
    """

    correlation: Literal["spearman", "pearson"] = "spearman"

    def of(self, first: Tensor, second: Tensor) -> float:
        above = torch.triu_indices(len(first), len(first), 1)
        pairs = [torch.cdist(x, x)[above[0], above[1]] for x in (first, second)]
        if self.correlation == "spearman":
            pairs = [torch.as_tensor(rankdata(distance.numpy())) for distance in pairs]
        return float(torch.corrcoef(torch.stack(pairs))[0, 1])
