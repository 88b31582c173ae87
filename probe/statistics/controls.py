"""Control tasks: labels that depend on the tokens alone, which a probe of a concept should not read as well."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ..tasks.base import content_groups


@dataclass(frozen=True)
class ControlTask:
    """A label for each context, drawn at random from the labels' own distribution (Hewitt and Liang 2019, arXiv:1909.03368).

    Every distinct context, the last tokens up to a sample, gets one label. A probe that does as well here reads the tokens and
    not the concept. The label depends on the seed and the context only, so that training and test samples agree on it.

    values: the labels there are. reach: the cumulated share of each among the training samples of the probe, [values].
    """

    values: Tensor
    reach: Tensor
    seed: int

    __repr__ = with_shapes

    @classmethod
    def of(cls, labels: Tensor, seed: int) -> ControlTask:
        """The task that goes with the training labels [N] of a probe."""
        values, counts = labels.unique(return_counts=True)
        return cls(values, (counts.double() / counts.sum()).cumsum(0), seed)

    def labels(self, contexts: Tensor) -> Tensor:
        """The label [n] of each of contexts [n, c]."""
        seeded = torch.cat([torch.full_like(contexts[:, :1], self.seed), contexts], dim=1)
        drawn = content_groups(seeded).double() / 2**63
        return self.values[torch.searchsorted(self.reach, drawn).clamp(max=len(self.values) - 1)]
