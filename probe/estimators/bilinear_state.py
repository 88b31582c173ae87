"""Probes of a matrix state that read it as the model does, with a key and a value for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..configuration import Count, Natural, NotEmpty, Positive
from .classifier import Classifier
from .descent import descend
from .estimator import CannotFitError, K, Probe, ScoredProbe
from .penalised import PathEstimator, coded


@dataclass(frozen=True)
class BilinearProbe(ScoredProbe):
    """sum_r u_cr^T S v_cr + b_c of states S, less their mean and over their scale, with S [heads * K, V].

    keys: u [C, rank, heads * K]. values: v [C, rank, V]. intercepts: [C]. mean: [heads * K, V]. scale: of all entries.
    """

    mean: Tensor
    scale: float
    keys: Tensor
    values: Tensor
    intercepts: Tensor
    labels: Tensor
    penalty: float = nan
    validation: float = nan

    @property
    def parameters(self) -> int:
        """How many numbers it was fitted by."""
        return self.keys.numel() + self.values.numel() + self.intercepts.numel()

    def scores(self, features: Tensor) -> Tensor:
        """Compute the logit of each class for features [n, ...]: [n, C]."""
        states = (features.to(self.mean).view(-1, *self.mean.shape) - self.mean) / self.scale
        return _logits(states, self.keys, self.values, self.intercepts)


@dataclass(frozen=True)
class BilinearState(Classifier, PathEstimator, kind="bilinear_state"):
    """Tells classes apart by sum_r u_cr^T S v_cr + b_c: a read-out S^T u of the state, looked at along v, of low rank.

    It has C rank (heads K + V) weights where a linear probe of the flattened state has C heads K V: with few samples it finds
    what is stored under a key, and cannot find what is spread over the matrix. The mean cross-entropy, with penalty / 2 times all
    squared weights, is not convex; the descent starts from the leading singular vectors of the differences of class means.
    """

    has_probabilities: ClassVar[bool] = True

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (1e-3, 1e-2, 1e-1)
    """Grouped cross-validation on the training samples chooses among these; each is relative to the number of samples."""
    value_size: Count = 1
    """A state has this many value channels; all heads' keys together are the other axis."""
    rank: Count = 1
    """A class has this many keys and values."""
    iterations: Count = 200
    """The quasi-Newton method stops after at most this many iterations."""
    seed: Natural = 0
    """This seed decides the order in which groups are put into folds, and what the start is shaken by."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        keys, rest = divmod(features.shape[1], self.value_size)
        if rest or self.rank > min(keys, self.value_size):
            raise CannotFitError(
                f"{features.shape[1]} features are no states with {self.value_size} value channels and rank {self.rank} or more; "
                "give `value_size` as the mixer has it"
            )
        precise = torch.float64 if features.dtype == torch.float64 else torch.float32
        states = features.to(precise).view(len(features), keys, self.value_size)
        mean = states.mean(0)
        if not bool(mean.isfinite().all()):
            raise ValueError("features must be finite; leave out, or mend, samples with nan or infinity")
        scale = float((states - mean).square().mean().sqrt()) or 1.0
        centred = (states - mean) / scale
        return {name: [self._fit(mean, scale, centred, target, p) for p in self.penalties] for name, target in targets.items()}

    def _fit(self, mean: Tensor, scale: float, states: Tensor, target: Tensor, penalty: float) -> Probe:
        classes, index, columns = coded(target)
        weighing = self.sample_weights(index, len(classes)).to(states)
        apart = torch.einsum("nc,nkv->ckv", (columns / columns.sum(0)).to(states), states)
        left, spectrum, right = torch.linalg.svd(apart, full_matrices=False)
        drawn = torch.randn(left.shape, generator=torch.Generator().manual_seed(self.seed), dtype=left.dtype)
        roots = spectrum.sqrt()[:, None]
        start_keys = ((left * roots) + 0.01 * drawn)[..., : self.rank].mT
        start_values = (right.mT * roots)[..., : self.rank].mT

        def loss(keys: Tensor, values: Tensor, intercepts: Tensor) -> Tensor:
            each = functional.cross_entropy(_logits(states, keys, values, intercepts), index, reduction="none")
            return (each * weighing).mean() + penalty / 2 * (keys.square().sum() + values.square().sum())

        start = [start_keys, start_values, states.new_zeros(len(classes))]
        keys, values, intercepts = descend(start, loss, self.iterations, 1e-6)
        return BilinearProbe(mean, scale, keys, values, intercepts, classes)


def _logits(states: Tensor, keys: Tensor, values: Tensor, intercepts: Tensor) -> Tensor:
    return torch.einsum("crk,nkv,crv->nc", keys, states, values) + intercepts
