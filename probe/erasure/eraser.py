"""Erasers: what takes a concept out of an activation, and what fits them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.recurrence import Edit, Verb
from ...kernels.shown import with_shapes
from ..captures.capture import are_classes, fully_labelled, labelled
from ..captures.stored import CHUNK, Features
from ..configuration import Configuration, Positive
from ..plugins import Kinds
from ..subspaces.sides import Side, change_vectors
from ..subspaces.subspace import HookFunction
from .moments import Moments, real_features

if TYPE_CHECKING:
    from ..models.hooked import HookedModel


@dataclass(frozen=True, eq=False)
class Eraser:
    """An affine map that takes out a concept: x - left right (x - mean).

    It works as a hook of any activation, `run_with_hooks(tokens, fwd_hooks=[eraser.ablate()])`, and of a state at its taps, from
    where the recurrence goes on; and as an `edit` of a state, which propagates or changes what is read. A complex activation is
    changed in its real and imaginary parts.

    left: [D, r]. right: [r, D]; right left = I, so that erasing twice is erasing once.
    mean: [D], where the concept's component is set to.
    hook: the activation it lives in. name: the concept. side: which vectors of the activation, see `Subspace`.
    """

    left: Tensor
    right: Tensor
    mean: Tensor
    hook: str
    name: str
    side: Side = "vector"

    __repr__ = with_shapes

    @property
    def rank(self) -> int:
        """The number r of dimensions that are taken out."""
        return self.left.shape[1]

    def __call__(self, activations: Tensor) -> Tensor:
        """The activations without the concept, in the same shape. Raises ValueError for those of another size."""
        size = len(self.mean)
        if activations.is_complex():
            return change_vectors(activations, self.side, size // 2, self.name, self._erase_both_parts)
        return change_vectors(activations, self.side, size, self.name, self._erase)

    @classmethod
    def random(cls, like: Eraser, generator: torch.Generator) -> Eraser:
        """The orthogonal projection off a random subspace of the same rank: the control of what an eraser costs."""
        drawn = torch.randn(like.left.shape, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(drawn)[0]
        return cls(basis, basis.T, like.mean, like.hook, "random", like.side)

    def ablate(self) -> HookFunction:
        """Give a hook for `run_with_hooks` that erases the concept."""
        return self.hook, lambda value, hook: self(value)

    def edit(
        self,
        model: HookedModel,
        tokens: Tensor,
        position: int,
        *,
        heads: tuple[int, ...] | None = None,
        verb: Verb = "propagate",
    ) -> Edit:
        """The edit that erases the concept from a state after one token, for `run_with_edits(tokens, {hook: [edit]})`.

        An eraser is affine and oblique, which no edit of a direction is: the model runs once to know the state of these sequences
        [B, T], and the edit sets it to what is left. It fits these tokens alone, with no other edit before it.
        """
        return erasing_edit(self, self.hook, model, tokens, position, heads, verb)

    def _erase(self, vectors: Tensor) -> Tensor:
        # Rounding of half precision in the difference from the mean would leave a trace of the concept.
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        within = (wide - self.mean.to(wide)) @ self.right.T.to(wide) @ self.left.T.to(wide)
        return (wide - within).to(vectors.dtype)

    def _erase_both_parts(self, vectors: Tensor) -> Tensor:
        parts = torch.view_as_real(vectors.resolve_conj())
        return torch.view_as_complex(self._erase(parts.flatten(-2)).reshape(parts.shape).contiguous())


def erasing_edit(
    erase: Callable[[Tensor], Tensor],
    hook: str,
    model: HookedModel,
    tokens: Tensor,
    position: int,
    heads: tuple[int, ...] | None,
    verb: Verb,
) -> Edit:
    """The edit that sets the states of sequences [B, T] after a token to what `erase` makes of them, [B, H, ...].

    Raises ValueError for a hook that is no state.
    """
    if hook not in model.hook_dict:
        raise model.unknown_hook(hook)
    if model.points[hook].access != "edit":
        raise ValueError(f"{hook} takes no edits; it is no state. Use `ablate` as a hook of run_with_hooks")
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=hook, taps=[position], return_type=None)
    left = erase(cache[hook])[:, 0]
    return Edit(position, "set", left if heads is None else left[:, list(heads)], heads, verb)


@dataclass(frozen=True)
class EraserFitter(Configuration, Kinds, family="eraser"):
    """Base of what fits erasers."""

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        """Fit an eraser to features [N, D] with labels: classes [N]; for some kinds also numbers [N] or [N, k].

        Samples that say they have no label (-100, or nan) are left out. hook, name, side: what the eraser is to be applied to.
        Raises ValueError where the labels do not differ.
        """


@dataclass(frozen=True)
class MomentFitter(EraserFitter):
    """Base of what fits erasers to the moments of features and labels. `fit` takes all samples, of a tensor or of rows that are
    read a part at a time (`Capture.sample_features`); `fit_batches` takes them as they come. Neither keeps more than a part.
    """

    tolerance: Positive = 1e-10
    """Singular values below this share of the largest count as 0."""

    @abstractmethod
    def eraser(self, moments: Moments, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        """The eraser of samples with these moments."""

    def fit(self, features: Features, labels: Tensor, *, hook: str, name: str, side: Side = "vector") -> Eraser:
        if len(features) != len(labels):
            raise ValueError(f"{name}: {len(features)} samples have {len(labels)} labels; give each sample one")
        held = fully_labelled(labels).nonzero()[:, 0]
        batches = ((features[part], labels[part]) for part in held.split(CHUNK))
        classes = labels.unique() if are_classes(labels) else None
        return self.fit_batches(batches, classes, hook=hook, name=name, side=side)

    def fit_batches(
        self,
        batches: Iterable[tuple[Tensor, Tensor]],
        classes: Tensor | None = None,
        *,
        hook: str,
        name: str,
        side: Side = "vector",
    ) -> Eraser:
        """Fit an eraser to batches of (features, labels). classes: all that there are; None for labels that are numbers."""
        moments = moments_of(batches, classes)
        if not bool((moments.scatter_xz != 0).any()):
            raise ValueError(f"{name}: the labels do not differ, or no feature goes with them; there is nothing to erase")
        return self.eraser(moments, hook=hook, name=name, side=side)


def moments_of(batches: Iterable[tuple[Tensor, Tensor]], classes: Tensor | None = None) -> Moments:
    """Gather the moments of the samples that have a label. classes: all that there are; None for labels that are numbers."""
    return reduce(add, (Moments.of(*labelled_samples(features, labels, classes)) for features, labels in batches))


def classified(features: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The samples that have a class: real features [n, D] in float64, a complex one as its two parts, and classes [n].

    Raises TypeError for labels that are numbers, ValueError for features that are not finite and where the labels do not differ.
    """
    if not are_classes(labels):
        raise TypeError(f"{name}: labels are classes, whole numbers [N]; leace and mean_projection take real numbers too")
    if len(features) != len(labels):
        raise ValueError(f"{name}: {len(features)} samples have {len(labels)} labels; give each sample one")
    present = labelled(labels)
    found, own = real_features(features[present]), labels[present]
    if not bool(found.isfinite().all()):
        raise ValueError("features and labels must be finite; leave out samples without a label")
    if len(own.unique()) < 2:
        raise ValueError(f"{name}: the labels do not differ; there is nothing to erase")
    return found, own


def labelled_samples(features: Tensor, labels: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
    """The features [n, D] of the samples that have a label, and their labels as columns [n, k], one-hot where they are classes.

    classes: all that there are; None for labels that are numbers.
    """
    present = fully_labelled(labels)
    if classes is None:
        return features[present], labels[present].reshape(int(present.sum()), -1)
    known = classes[labelled(classes)]
    return features[present], (labels[present][:, None] == known).double()
