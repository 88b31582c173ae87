"""Control tasks and baselines: what a probe's accuracy is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def control_labels(contexts: Tensor, labels: Tensor, seed: int) -> Tensor:
    """A label for each sample that depends on its context alone, drawn at random from the labels' own distribution.

    contexts [N, c]: the last c tokens; every distinct context gets one random label (Hewitt and Liang 2019,
    arXiv:1909.03368). A probe that does as well here reads the tokens and not the concept. The label of a context depends
    on the seed and the context only, so that training and test samples agree on it.
    """
    types, kind = torch.unique(contexts, dim=0, return_inverse=True)
    classes, counts = labels.unique(return_counts=True)
    reach = (counts.double() / counts.sum()).cumsum(0)
    draws = torch.tensor([_uniform(row, seed) for row in types.tolist()], dtype=torch.float64)
    return classes[torch.searchsorted(reach, draws).clamp(max=len(classes) - 1)][kind]


def _uniform(context: list[int], seed: int) -> float:
    mixed = np.random.SeedSequence([seed, *(value + 1 for value in context)]).generate_state(1, np.uint64)[0]
    return float(mixed) / 2**64


def majority_accuracy(train: Tensor, test: Tensor) -> float:
    """Accuracy on `test` of always answering the most frequent label of `train`."""
    classes, counts = train.unique(return_counts=True)
    return float((test == classes[counts.argmax()]).double().mean())


def group_bootstrap(values: NDArray[np.float64], groups: NDArray[np.int64], resamples: int, seed: int) -> tuple[float, float]:
    """A 95% interval of the mean of `values`, resampling whole groups (percentile bootstrap)."""
    unique, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=values, minlength=len(unique))
    counts = np.bincount(index, minlength=len(unique)).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(unique), (resamples, len(unique)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def group_folds(groups: Tensor, folds: int, seed: int) -> list[Tensor]:
    """Masks [N] of the held-out samples of each fold; a group is never split."""
    unique = groups.unique()
    if len(unique) < folds:
        raise ValueError(f"grouped cross-validation with {folds} folds needs as many groups, got {len(unique)}")
    order = unique[torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed))]
    return [torch.isin(groups, order[fold::folds]) for fold in range(folds)]
