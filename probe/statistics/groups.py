"""Groups as the units of folds, intervals and nulls. A group (sequence, file, document) is never split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ..errors import CannotFitError


def sources_of(groups: Tensor | None, count: int) -> Tensor:
    """The source of each of `count` samples, [N]: as it is given, or the sample itself where it is None.

    Raises ValueError for groups of another number of samples.
    """
    if groups is None:
        return torch.arange(count)
    if groups.shape != (count,):
        raise ValueError(f"groups is {tuple(groups.shape)}; {count} samples need one source each")
    return groups


def group_folds(groups: Tensor, folds: int, seed: int) -> list[Tensor]:
    """Masks [N] of the held-out samples of each fold. Raises CannotFitError for fewer than 2 folds, or groups than folds."""
    if folds < 2:
        raise CannotFitError(f"cross-validation needs 2 folds at least, got {folds}: what one leaves is no sample to fit")
    unique, index = groups.unique(return_inverse=True)
    if len(unique) < folds:
        raise CannotFitError(f"grouped cross-validation with {folds} folds needs as many groups, got {len(unique)}")
    place = torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed)).argsort()
    fold_of = (place % folds)[index]
    return [fold_of == fold for fold in range(folds)]


def group_bootstrap(
    values: NDArray[np.float64],
    groups: NDArray[np.int64],
    resamples: int,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """A 95% interval of sum(values) / sum(weights), resampling whole groups; weights are 1 when None, and it is of the mean.

    It is the percentile interval, expanded for few groups as Hesterberg proposes (2015, arXiv:1411.5279): its quantiles are at
    Phi(-sqrt(G / (G - 1)) t_{0.975, G - 1}), which is wider by about what the t distribution has over the normal one. One group
    says nothing of how groups differ: the interval is (nan, nan).
    """
    unique, index = np.unique(groups, return_inverse=True)
    count = len(unique)
    if count < 2:
        return float("nan"), float("nan")
    sums = np.bincount(index, weights=values, minlength=count)
    sizes = np.bincount(index, weights=weights, minlength=count).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    return expanded_interval(sums[drawn].sum(1) / sizes[drawn].sum(1), count)


def expanded_interval(resampled: NDArray[np.float64], groups: int) -> tuple[float, float]:
    """The 95% interval of a statistic from its values in bootstrap resamples of so many groups, as `group_bootstrap` has it."""
    tail = float(stats.norm.cdf(-np.sqrt(groups / (groups - 1)) * stats.t.ppf(0.975, groups - 1)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def group_weights(groups: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each sample [n] comes in each of `resamples` bootstrap resamples of whole groups, as `group_bootstrap` draws."""
    unique, index = np.unique(groups, return_inverse=True)
    for drawn in np.random.default_rng(seed).integers(0, len(unique), (resamples, len(unique))):
        yield np.bincount(drawn, minlength=len(unique)).astype(np.float64)[index]


def group_resamples(groups: NDArray[np.int64], count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The samples of `count` bootstrap resamples of whole groups: as many groups as there are, drawn with replacement."""
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.unique(groups[order], return_index=True)[1][1:])
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([members[index] for index in generator.integers(0, len(members), len(members))])


def group_shuffles(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` rearrangements [count, n] of samples that deal the labels of whole groups to other groups.

    labels[shuffle] keeps what is alike within a group, such as a label's course over positions, and breaks its tie to the
    activations. Where groups differ in size, the groups stand in another order one behind the other, and are cut anew.
    """
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    generator = np.random.default_rng(seed)
    found = np.empty((count, len(groups)), dtype=np.int64)
    for row in found:
        drawn = generator.permutation(len(starts))
        ends = np.cumsum(sizes[drawn])
        within = np.arange(len(groups)) - np.repeat(ends - sizes[drawn], sizes[drawn])
        row[order] = order[np.repeat(starts[drawn], sizes[drawn]) + within]
    return found
