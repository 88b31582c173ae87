"""Erasers that are told the label of what they erase it from: what it takes to make classes alike, were they known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.recurrence import Edit, Verb
from ...kernels.shown import with_shapes
from ..captures.capture import are_classes, fully_labelled, labelled
from ..configuration import Configuration, Count, Positive
from ..plugins import Kinds
from ..subspaces.sides import Side, change_vectors, vectors_of
from ..subspaces.subspace import HookFunction
from .eraser import classified, erasing_edit, labelled_samples
from .moments import Moments, real_features

if TYPE_CHECKING:
    from ..models.hooked import HookedModel


@dataclass(frozen=True, eq=False)
class LabelledEraser(ABC):
    """A change of an activation that depends on its label. What has no label (-100, or nan) stays as it is.

    hook: the activation it lives in. name: the concept. side: which vectors of the activation, see `Subspace`.
    """

    hook: str
    name: str
    side: Side

    @property
    @abstractmethod
    def size(self) -> int:
        """How many entries its vectors have; of complex ones, twice as many as they have numbers."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """How many dimensions the change of an activation may lie along."""

    @abstractmethod
    def change(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Erase from real float64 vectors [n, D] with labels [n] or [n, k], none of which is missing."""

    def __call__(self, activations: Tensor, labels: Tensor) -> Tensor:
        """The activations without the concept. labels: one for each vector of the activation, or of its first axes.

        Raises ValueError for activations of another size, and for labels that do not fit.
        """
        size = self.size // 2 if activations.is_complex() else self.size
        leading = vectors_of(activations, self.side, size, self.name).shape[:-1]
        shape = labels.shape[: len(leading)]
        if shape != leading[: len(shape)]:
            raise ValueError(f"{self.name}: labels {tuple(labels.shape)} do not go with vectors {tuple(leading)}")
        spread = labels.reshape(*shape, *(1,) * (len(leading) - len(shape)), *labels.shape[len(shape) :])
        flat = spread.expand(*leading, *labels.shape[len(shape) :]).reshape(leading.numel(), *labels.shape[len(shape) :])
        return change_vectors(activations, self.side, size, self.name, lambda vectors: self._each(vectors, flat))

    def ablate(self, labels: Tensor) -> HookFunction:
        """Give a hook for `run_with_hooks` that erases the concept. labels: of the sequences that run, [B, T]."""
        return self.hook, lambda value, hook: self(value, labels)

    def edit(
        self,
        model: HookedModel,
        tokens: Tensor,
        labels: Tensor,
        position: int,
        *,
        heads: tuple[int, ...] | None = None,
        verb: Verb = "propagate",
    ) -> Edit:
        """The edit that erases the concept from a state after one token; see `Eraser.edit`. labels: of the tokens, [B, T]."""
        own = labels[:, [position]]
        return erasing_edit(lambda state: self(state, own), self.hook, model, tokens, position, heads, verb)

    def _each(self, vectors: Tensor, labels: Tensor) -> Tensor:
        flat = vectors.reshape(-1, vectors.shape[-1])
        real = real_features(flat).clone()
        present = fully_labelled(labels)
        real[present] = self.change(real[present], labels[present])
        changed = torch.view_as_complex(real.view(len(flat), -1, 2)) if vectors.is_complex() else real
        return changed.to(vectors.dtype).view(vectors.shape)


@dataclass(frozen=True)
class LabelledEraserFitter(Configuration, Kinds, family="labelled_eraser"):
    """Base of what fits erasers that are told the label."""

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> LabelledEraser:
        """Fit an eraser to features [N, D] with labels, as `EraserFitter.fit` has them."""


@dataclass(frozen=True, eq=False)
class OracleEraser(LabelledEraser):
    """x - coefficients (z - mean), with z the one-hot class, or the numbers.

    coefficients: [D, k]. mean: [k]. classes: [k], or None for numbers.
    """

    coefficients: Tensor
    mean: Tensor
    classes: Tensor | None

    __repr__ = with_shapes

    @property
    def size(self) -> int:
        return len(self.coefficients)

    @property
    def rank(self) -> int:
        return int(torch.linalg.matrix_rank(self.coefficients))

    def change(self, vectors: Tensor, labels: Tensor) -> Tensor:
        z = labels.reshape(len(vectors), -1) if self.classes is None else labels[:, None] == self.classes
        if self.classes is not None and not bool(z.any(1).all()):
            raise ValueError(f"{self.name}: there are labels other than those it was fitted to, {self.classes.tolist()}")
        return vectors - (z.double() - self.mean) @ self.coefficients.T


@dataclass(frozen=True)
class OracleLeace(LabelledEraserFitter, kind="oracle_leace"):
    """Oracle LEACE (Belrose et al. 2023, arXiv:2306.03819, theorem 4.4): x - Cov(x, z) Cov(z, z)^+ (z - mean).

    Of all changes, which may look at the label, after which no linear probe beats a constant, it moves the activations least.
    Classes are moved to one mean: what differs between samples of a class stays.
    """

    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> OracleEraser:
        classes = labels[labelled(labels)].unique() if are_classes(labels) else None
        x, z = labelled_samples(features, labels, classes)
        moments = Moments.of(x, z)
        centred = z.double() - moments.mean_z
        spread = centred.T @ centred / moments.count
        if not bool((spread != 0).any()):
            raise ValueError(f"{name}: the labels do not differ; there is nothing to erase")
        coefficients = moments.covariance_xz @ torch.linalg.pinv(spread, rtol=1e-10, hermitian=True)
        return OracleEraser(hook, name, side, coefficients, moments.mean_z, classes)


@dataclass(frozen=True, eq=False)
class QuadraticEraser(LabelledEraser):
    """maps_c (x - means_c) + mean of the activations of each class c. maps: [C, D, D]. means: [C, D]. mean: [D]. classes: [C]."""

    maps: Tensor
    means: Tensor
    mean: Tensor
    classes: Tensor

    __repr__ = with_shapes

    @property
    def size(self) -> int:
        return len(self.mean)

    @property
    def rank(self) -> int:
        return len(self.mean)

    def change(self, vectors: Tensor, labels: Tensor) -> Tensor:
        found = vectors.clone()
        known = torch.zeros(len(vectors), dtype=torch.bool)
        for label, map_, mean in zip(self.classes, self.maps, self.means, strict=True):
            own = labels == label
            found[own], known = (vectors[own] - mean) @ map_.T + self.mean, known | own
        if not bool(known.all()):
            raise ValueError(f"{self.name}: there are labels other than those it was fitted to, {self.classes.tolist()}")
        return found


@dataclass(frozen=True)
class QuadraticLeace(LabelledEraserFitter, kind="quadratic_leace"):
    """Quadratic LEACE, as in the package concept-erasure: every class is moved to one mean and one covariance by the linear map
    of optimal transport, so that no quadratic probe beats a constant.

    The common covariance is the barycentre S = sum_c pi_c (S^{1/2} S_c S^{1/2})^{1/2} of the classes' covariances under the
    Bures-Wasserstein metric, to which they are moved least; the map of a class is S_c^{-1/2} (S_c^{1/2} S S_c^{1/2})^{1/2}
    S_c^{-1/2}. Raises ValueError where a class does not vary along all that the activations vary along, as with fewer samples
    than dimensions: its covariance cannot become that of the others.
    """

    tolerance: Positive = 1e-10
    """Variances below this share of the largest count as 0, and the barycentre is found up to this share."""
    iterations: Count = 500
    """The fixed point of the barycentre is sought for at most this many iterations."""

    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> QuadraticEraser:
        x, index = classified(features, labels, name)
        classes, index = index.unique(return_inverse=True)
        mean = x.mean(0)
        values, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        axes = axes[:, values > self.tolerance * values[-1]]
        if not axes.shape[1]:
            raise ValueError(f"{name}: the activations do not vary; there is nothing to erase")
        parts = [(x[index == number] - mean) @ axes for number in range(len(classes))]
        shares = torch.tensor([len(part) / len(x) for part in parts], dtype=x.dtype)
        covariances = torch.stack([(part - part.mean(0)).T @ (part - part.mean(0)) / len(part) for part in parts])
        for label, own, part in zip(classes.tolist(), covariances, parts, strict=True):
            spread = torch.linalg.eigvalsh(own)
            if not spread[0] > self.tolerance * spread[-1]:
                raise ValueError(
                    f"{name}: the {len(part)} samples of class {label} do not vary along all {axes.shape[1]} dimensions of the "
                    "activations; give more samples, or fewer dimensions"
                )
        centre = self._barycentre(covariances, shares)
        roots, inverses = _power(covariances, 0.5), _power(covariances, -0.5)
        maps = inverses @ _power(roots @ centre @ roots, 0.5) @ inverses  # each carries the covariance of a class to the centre
        means = torch.stack([part.mean(0) @ axes.T + mean for part in parts])
        within = axes @ maps @ axes.T
        outside = torch.eye(len(mean), dtype=x.dtype) - axes @ axes.T  # what does not vary stays as it is
        return QuadraticEraser(hook, name, side, within + outside, means, mean, classes)

    def _barycentre(self, covariances: Tensor, shares: Tensor) -> Tensor:
        """The fixed point S -> S^{-1/2} (sum_c pi_c (S^{1/2} S_c S^{1/2})^{1/2})^2 S^{-1/2} (Alvarez-Esteban et al. 2016)."""
        centre = torch.einsum("c,cij->ij", shares, covariances)
        for _ in range(self.iterations):
            root, inverse = _power(centre, 0.5), _power(centre, -0.5)
            middle = torch.einsum("c,cij->ij", shares, _power(root @ covariances @ root, 0.5))
            moved = inverse @ middle @ middle @ inverse
            settled = (moved - centre).norm() <= self.tolerance * centre.norm()
            centre = (moved + moved.T) / 2
            if settled:
                break
        return centre


def _power(matrices: Tensor, exponent: float) -> Tensor:
    """A power of symmetric positive definite matrices, [..., D, D]."""
    values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)
    return (vectors * values[..., None, :].clamp(min=1e-300) ** exponent) @ vectors.mT
