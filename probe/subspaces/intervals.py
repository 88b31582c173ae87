"""How sure one can be of a direction or a subspace: it is found again in bootstrap resamples of whole groups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ..errors import CannotFitError
from ..statistics.groups import group_resamples
from .direction import Direction
from .subspace import Subspace

S = TypeVar("S", bound=Subspace)
PATIENCE = 100  # resamples that are drawn for each that can be used


@dataclass(frozen=True)
class SubspaceInterval(Generic[S]):
    """How sure a subspace is. cosines: of what bootstrap resamples find with it, [resamples]. groups: how many there are.

    The cosine is that of two directions with their senses; of two subspaces, that of their largest principal angle.

    low: with 95% confidence, the cosine of what was found with what all the data there could be would give is at least this: the
    5% quantile of `cosines`, lowered for few groups as those of `group_bootstrap`. Where it is near that of random directions,
    sqrt(1 / D), what was found is noise.
    """

    found: S
    cosines: np.ndarray[Any, np.dtype[np.float64]]
    groups: int

    @property
    def low(self) -> float:
        tail = stats.norm.cdf(-np.sqrt(self.groups / (self.groups - 1)) * stats.t.ppf(0.95, self.groups - 1))
        return float(np.quantile(self.cosines, tail))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.found!r}, {self.summary()})"

    def _repr_html_(self) -> str:
        return f"{self.found._repr_html_()}<p>{self.summary()}</p>"

    def summary(self) -> str:
        """How sure it is, in words."""
        return f"cosine with that of all data at least {self.low:.3f}, {len(self.cosines)} resamples of {self.groups} groups"


class DirectionInterval(SubspaceInterval[Direction]):
    """How sure a direction is; see `SubspaceInterval`."""

    @property
    def direction(self) -> Direction:
        """The direction that all samples give."""
        return self.found


def resampled_cosines(
    whole: S, find: Callable[[Tensor], S | None], groups: Tensor, resamples: int, seed: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The cosine with `whole` of what `find` makes of the samples of each resample of whole groups, [resamples].

    find: from sample numbers [n] to a subspace; None for a resample that cannot be used, in whose place another is drawn.
    groups: the source of each sample, [N]. Raises ValueError for fewer than two groups, and where hardly a resample can be used.
    """
    if len(groups.unique()) < 2:
        raise ValueError(f"{whole.name}: an interval needs at least two groups; one says nothing of how groups differ")
    cosines: list[float] = []
    for rows in map(torch.from_numpy, group_resamples(groups.numpy(), PATIENCE * resamples, seed)):
        if len(cosines) == resamples:
            break
        with suppress(CannotFitError):
            if (own := find(rows)) is not None:
                cosines.append(whole.agreement(own))
    if len(cosines) < resamples:
        raise ValueError(f"{whole.name}: only {len(cosines)} of {PATIENCE * resamples} resamples can be used; give more groups")
    return np.array(cosines)
