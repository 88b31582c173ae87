"""Directions: a unit vector in an activation space, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from .sides import Side
from .subspace import Subspace


class Direction(Subspace):
    """A unit vector with its provenance: a subspace of one dimension, which also has a sense.

    vector: [D], of length 1 under the metric. scale: how far apart the two sides of the concept lie along it, in the activation's
    own units. The rest: see `Subspace`.
    """

    def __init__(
        self,
        vector: Tensor,
        hook: str,
        name: str,
        side: Side = "vector",
        scale: float = 1.0,
        about: Mapping[str, Any] | None = None,
        metric: Tensor | None = None,
        origin: Tensor | None = None,
    ) -> None:
        if vector.ndim != 1:
            raise ValueError(f"{name}: a direction is one vector, got shape {tuple(vector.shape)}")
        super().__init__(vector[:, None], hook, name, side, scale, about or {}, metric, origin)

    def _flaw(self, gram: Tensor, off: float) -> str:
        return f"a direction has length 1, got {float(gram[0, 0].sqrt()):.6g}; divide by its norm"

    def __repr__(self) -> str:
        return f"Direction({self.name!r}, [{len(self.basis)}] at {self.hook}, side {self.side!r}, scale {self.scale:.4g})"

    @property
    def vector(self) -> Tensor:
        """The unit vector has the shape [D]."""
        return self.basis[:, 0]

    @classmethod
    def difference_of_means(
        cls, features: Tensor, present: Tensor, *, hook: str, name: str, side: Side = "vector", **about: Any
    ) -> Direction:
        """The direction from the mean activation where a concept is absent to the mean where it is present.

        features [N, D], real or complex, of any floating dtype; present [N] of booleans. `scale` is the distance of the two
        means. Raises ValueError as `both_sides` does, and where the means are one.
        """
        present = both_sides(present, name)
        wide = torch.promote_types(features.dtype, torch.float64)
        gap = features[present].to(wide).mean(0) - features[~present].to(wide).mean(0)
        norm = float(gap.norm())
        if not 0 < norm < float("inf"):
            raise ValueError(f"{name}: the means with and without the concept are {norm:g} apart, which gives no direction")
        details = {"method": "difference of means", "with": int(present.sum()), "without": int((~present).sum())}
        kept = torch.promote_types(features.dtype, torch.float32)
        return cls((gap / norm).to(kept), hook, name, side, norm, details | about)

    @classmethod
    def along(
        cls,
        vector: Tensor,
        features: Tensor,
        present: Tensor,
        *,
        hook: str,
        name: str,
        side: Side = "vector",
        metric: Tensor | None = None,
        given: Tensor | None = None,
        **about: Any,
    ) -> Direction:
        """The direction of a vector [D] of any length and sense, turned to where a concept is present in features [N, D].

        present: booleans, [N]. The scale is how far apart the means with and without the concept lie along it. metric: M [D, D],
        by which its length and that distance go. given: a class of each sample, [N]; the scale is then the gap where that class
        is the same (Frisch, Waugh and Lovell).

        Raises ValueError for a vector of no length, and where no class of `given` has samples with and without the concept.
        """
        wide, held = features.double(), present.double()[:, None]
        held = less_means(held, torch.zeros(len(held)) if given is None else given)
        varies = float(held.square().sum())
        if not varies > 1e-9:
            raise ValueError(f"{name}: no class of `given` has samples with and without the concept")
        measured = vector.double() if metric is None else metric.double() @ vector.double()
        norm = float(vector.double() @ measured) ** 0.5
        if not 0 < norm < float("inf"):
            raise ValueError(f"{name}: {about.get('method', 'it')} is a vector of length {norm:g}, which is no direction")
        gap = float(held[:, 0] @ wide @ measured) / varies / norm
        details = {"with": int(present.sum()), "without": int((~present).sum())} | about
        kept = torch.promote_types(features.dtype, torch.float32)
        unit = (vector / norm if gap >= 0 else -vector / norm).to(kept)
        return cls(unit, hook, name, side, abs(gap) or 1.0, details, None if metric is None else metric.to(kept))

    def cosine(self, other: Direction) -> float:
        """The cosine with a direction of the same space, under its metric."""
        self._same_space(other)
        return float((self.vector.conj() @ other._measured[:, 0].to(self.vector)).real)

    def agreement(self, other: Subspace) -> float:
        """The cosine with another direction, negative where their senses differ; with a subspace, that of the angle with it."""
        return self.cosine(other) if isinstance(other, Direction) else super().agreement(other)

    def project(self, activations: Tensor) -> Tensor:
        """The component of each vector of activations along it: [...] of activations [..., D]."""
        return self.coordinates(activations)[..., 0]

    @classmethod
    def _of(cls, basis: Tensor, **rest: Any) -> Self:
        if basis.shape[1] != 1:
            raise ValueError(f"it is a subspace of {basis.shape[1]} dimensions")
        return cls(basis[:, 0], **rest)


def both_sides(present: Tensor, name: str) -> Tensor:
    """Whether a concept is present in each sample, [N], as booleans.

    Raises ValueError where one of the two sides has no sample, and for numbers other than 0 and 1: the -100 of a sample that has
    no label would pass for the concept.
    """
    if not bool(((present == 0) | (present == 1)).all()):
        raise ValueError(
            f"{name}: whether it is present is told by booleans, or by 0 and 1; leave out samples without a label "
            "(`Capture.concept` does), and say which class is meant"
        )
    present = present.bool()
    if present.ndim != 1 or present.all() or not present.any():
        raise ValueError(f"{name}: a direction needs samples [N] with and without the concept, got {tuple(present.shape)}")
    return present


def less_means(values: Tensor, classes: Tensor) -> Tensor:
    """Values [N, D] less the mean of their class [N]. Raises ValueError for classes of another number of samples."""
    if classes.shape != (len(values),):
        raise ValueError(f"there are {len(values)} samples, and classes {tuple(classes.shape)}; give each sample one")
    _, index, counts = classes.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add(0, index, values)
    return values - (sums / counts[:, None])[index]
