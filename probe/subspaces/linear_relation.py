"""Relations as linear maps, and the direction of the subject along which an object is read (Chanin et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from .direction import Direction
from .intervals import DirectionInterval, resampled_cosines
from .jacobians import Jacobians


@dataclass(frozen=True, eq=False)
class LinearRelation:
    """o ~ beta W s + b: what a model makes of a subject's activation s in a relation, to first order.

    W is the mean Jacobian over subjects and b the mean of o - W_n s_n (Hernandez et al. 2024, arXiv:2308.09124). Its inverse of
    low rank takes an object back to the direction of the subjects that have it: a linear relational concept
    (arXiv:2311.08968).

    weights: W [m, D]. bias: b [m]. hook: where s is. samples: subjects that it was made of.
    """

    weights: Tensor
    bias: Tensor
    hook: str
    samples: int

    __repr__ = with_shapes

    @classmethod
    def of(cls, jacobians: Jacobians) -> LinearRelation:
        """The relation of subjects whose Jacobians are given."""
        each = jacobians.matrices.double()
        offsets = jacobians.outputs.double() - torch.einsum("nmd,nd->nm", each, jacobians.inputs.double())
        return cls(each.mean(0), offsets.mean(0), jacobians.hook, len(each))

    def predict(self, subjects: Tensor, beta: float = 1.0) -> Tensor:
        """Compute beta W s + b of subjects [n, D]: [n, m]. A Jacobian falls short where a model saturates, and beta makes up."""
        return beta * subjects.to(self.weights) @ self.weights.T + self.bias

    def inverse(self, rank: int) -> Tensor:
        """The pseudo-inverse of W by its `rank` largest singular values, [D, m]. Raises ValueError where W has fewer."""
        left, values, right = torch.linalg.svd(self.weights, full_matrices=False)
        most = int((values > 1e-12 * values[0]).sum())
        if not 0 < rank <= most:
            raise ValueError(f"the relation has rank {most}; take a rank from 1 to that, got {rank}")
        return right[:rank].mT @ ((left[:, :rank] / values[:rank]).mT)

    def concept(self, objects: Tensor, *, name: str, rank: int) -> Direction:
        """The direction of the subjects that have an object: W_r^+ (o - b), with o the mean of the object's outputs [n, m].

        Its scale is the length of W_r^+ (o - b): the step that takes a subject of no object to one of this. Subjects are sorted
        by which of several concepts they lie furthest along, `concept.project(subjects)`.
        """
        if objects.ndim != 2 or objects.shape[1] != len(self.bias) or not len(objects):
            raise ValueError(f"{name}: objects are outputs [n, {len(self.bias)}], got {tuple(objects.shape)}")
        vector = self.inverse(rank) @ (objects.to(self.bias).mean(0) - self.bias)
        norm = float(vector.norm())
        if not 0 < norm < float("inf"):
            raise ValueError(f"{name}: the relation takes no subject to this object; its direction has length {norm:g}")
        about: dict[str, Any] = {"method": "linear relation", "rank": rank, "subjects": self.samples, "objects": len(objects)}
        return Direction(vector / norm, self.hook, name, scale=norm, about=about)


def concept_interval(
    jacobians: Jacobians, has: Tensor, *, name: str, rank: int, resamples: int = 200, seed: int = 0
) -> DirectionInterval:
    """The direction of an object's subjects, and how sure it is: found again in bootstrap resamples of whole groups.

    jacobians: of subjects of the relation. has: which of them have the object, [N]. A resample with none of them is drawn again.
    Raises ValueError for fewer than two groups of samples, and of samples that have it.
    """
    if has.shape != jacobians.groups.shape or not bool(((has == 0) | (has == 1)).all()):
        raise ValueError(
            f"{name}: `has` is {tuple(has.shape)}, true or false, or 1 or 0; there are {len(jacobians.groups)} subjects, "
            "of which those are left out where it is not known"
        )
    own = has.bool()
    if len(jacobians.groups[own].unique()) < 2:
        raise ValueError(f"{name}: an interval needs at least two groups of subjects that have the object")

    def find(rows: Tensor) -> Direction | None:
        if not bool(own[rows].any()):
            return None
        resample = jacobians.select(rows)
        return LinearRelation.of(resample).concept(resample.outputs[own[rows]], name=name, rank=rank)

    whole = find(torch.arange(len(own)))
    assert whole is not None
    cosines = resampled_cosines(whole, find, jacobians.groups, resamples, seed)
    return DirectionInterval(whole, cosines, len(jacobians.groups.unique()))
