"""Similarity after the best rotation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .measure import SimilarityMeasure


@dataclass(frozen=True)
class Procrustes(SimilarityMeasure, kind="procrustes"):
    """1 - d^2 / 2 with d the distance of X and Y, each of norm 1, after the best rotation.

    That is the nuclear norm of X^T Y over the norms (Williams et al. 2021, arXiv:2110.14739). Its arccosine is a metric, unlike
    CKA's. Both sides may differ in width.
    """

    def of(self, first: Tensor, second: Tensor) -> float:
        return float(torch.linalg.svdvals(first.T @ second).sum() / (first.norm() * second.norm()))
