"""Probes of a matrix state that read it as the model does, with a key and a value for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ...kernels.shown import with_shapes
from ..configuration import Count, Natural, NotEmpty, Positive
from ..errors import CannotFitError
from .classifier import Classifier
from .descent import descend
from .estimator import K, Probe, ScoredProbe
from .penalised import PathEstimator, coded
from .standardisation import finite_mean, real


@dataclass(frozen=True)
class BilinearProbe(ScoredProbe):
    """sum_hr u_chr^T S_h v_chr + b_c of states S, less their mean and over their scale, with S [heads, K, V].

    keys: u [C, rank, heads, K]. values: v [C, rank, heads, V]. Either has C = 1 where the classes share it. intercepts: [C].
    mean: [heads, K, V]. scale: of all entries.
    """

    mean: Tensor
    scale: float
    keys: Tensor
    values: Tensor
    intercepts: Tensor
    labels: Tensor
    penalty: float = nan
    validation: float = nan

    __repr__ = with_shapes

    @property
    def parameters(self) -> int:
        """How many numbers it was fitted by."""
        return self.keys.numel() + self.values.numel() + self.intercepts.numel()

    def scores(self, features: Tensor) -> Tensor:
        """Compute the logit of each class for features [n, ...]: [n, C]."""
        states = (real(features).to(self.mean).reshape(-1, *self.mean.shape) - self.mean) / self.scale
        return _logits(states, self.keys, self.values, self.intercepts)


@dataclass(frozen=True)
class BilinearState(Classifier, PathEstimator, kind="bilinear_state"):
    """Tells classes apart by sum_hr u_chr^T S_h v_chr + b_c: a read-out S^T u of the state, looked at along v, of low rank.

    It has C rank heads (K + V) weights where a linear probe of the flattened state has C heads K V: with few samples it finds
    what is stored under a key, and cannot find what is spread over the matrix. Where the classes share their keys, the probe is a
    linear one of `rank` read-outs S^T u_r, which it chooses: the key side; where they share their values, one of S v_r: the value
    side. Complex states are given as their real and imaginary parts side by side, with twice the value channels.

    The mean cross-entropy, with penalty / 2 times all squared weights, is not convex; the descent starts from the leading
    singular vectors of the differences of class means.
    """

    has_probabilities: ClassVar[bool] = True

    penalties: Annotated[tuple[Positive, ...], NotEmpty()] = (1e-3, 1e-2, 1e-1)
    """Grouped cross-validation on the training samples chooses among these; each is relative to the number of samples."""
    value_size: Count = 1
    """A state has this many value channels."""
    heads: Count = 1
    """Each of so many heads has keys and values of its own; with 1, the keys of all heads together have one set of values."""
    rank: Count = 1
    """A class has this many keys and values."""
    shared: Literal["nothing", "keys", "values"] = "nothing"
    """All classes have the same keys, or the same values; with nothing shared each has its own."""
    iterations: Count = 200
    """The quasi-Newton method stops after at most this many iterations."""
    seed: Natural = 0
    """This seed decides the order in which groups are put into folds, and what the start is shaken by."""

    def fit_paths(self, features: Tensor, targets: Mapping[K, Tensor]) -> dict[K, list[Probe]]:
        keys, rest = divmod(features.shape[1], self.value_size * self.heads)
        if rest or self.rank > min(keys, self.value_size):
            raise CannotFitError(
                f"{features.shape[1]} features are no states of {self.heads} heads with {self.value_size} value channels and "
                f"rank {self.rank} or more; give `value_size` and `heads` as the mixer has them"
            )
        precise = torch.float64 if features.dtype == torch.float64 else torch.float32
        states = real(features).to(precise).reshape(len(features), self.heads, keys, self.value_size)
        mean = finite_mean(states.mean(0))
        scale = float((states - mean).square().mean().sqrt()) or 1.0
        centred = (states - mean) / scale
        return {name: [self._fit(mean, scale, centred, target, p) for p in self.penalties] for name, target in targets.items()}

    def _fit(self, mean: Tensor, scale: float, states: Tensor, target: Tensor, penalty: float) -> Probe:
        classes, index, columns = coded(target)
        weighing = self.sample_weights(index, len(classes)).to(states)
        apart = torch.einsum("nc,nhkv->chkv", (columns / columns.sum(0)).to(states), states)
        start_keys, start_values = self._start(apart)

        def loss(keys: Tensor, values: Tensor, intercepts: Tensor) -> Tensor:
            each = functional.cross_entropy(_logits(states, keys, values, intercepts), index, reduction="none")
            return (each * weighing).mean() + penalty / 2 * (keys.square().sum() + values.square().sum())

        start = [start_keys, start_values, states.new_zeros(len(classes))]
        keys, values, intercepts = descend(start, loss, self.iterations, 1e-6)
        return BilinearProbe(mean, scale, keys, values, intercepts, classes)

    def _start(self, apart: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that go with the differences of class means [C, heads, K, V], shaken a little."""
        if self.shared == "keys":  # the classes side by side, as more values
            left, right = self._leading(apart.permute(1, 2, 0, 3).flatten(2)[None])
            return left, right.unflatten(3, (len(apart), -1))[0].permute(2, 0, 1, 3)
        if self.shared == "values":
            left, right = self._leading(apart.permute(1, 0, 2, 3).flatten(1, 2)[None])
            return left.unflatten(3, (len(apart), -1))[0].permute(2, 0, 1, 3), right
        return self._leading(apart)

    def _leading(self, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """The leading singular vectors of matrices [C, heads, K, V], over which their singular values are shared out."""
        left, spectrum, right = torch.linalg.svd(matrices, full_matrices=False)
        drawn = torch.randn(left.shape, generator=torch.Generator().manual_seed(self.seed), dtype=left.dtype)
        roots = spectrum.sqrt()[..., None, :]
        both = (left * roots + 0.01 * drawn, right.mT * roots)
        keys, values = (part[..., : self.rank].permute(0, 3, 1, 2) for part in both)
        return keys, values


def _logits(states: Tensor, keys: Tensor, values: Tensor, intercepts: Tensor) -> Tensor:
    if len(keys) < len(values):
        return torch.einsum("nrhv,crhv->nc", torch.einsum("nhkv,rhk->nrhv", states, keys[0]), values) + intercepts
    if len(values) < len(keys):
        return torch.einsum("nrhk,crhk->nc", torch.einsum("nhkv,rhv->nrhk", states, values[0]), keys) + intercepts
    return torch.einsum("crhk,nhkv,crhv->nc", keys, states, values) + intercepts
