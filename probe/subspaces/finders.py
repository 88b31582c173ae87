"""Ways of finding the direction of a concept, and how sure one can be of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from sklearn.cluster import KMeans as TheirKMeans
from torch import Tensor

from ..configuration import Configuration, Count, Natural, Range
from ..estimators.estimator import Estimator
from ..estimators.logistic import Logistic
from ..estimators.standardisation import varying
from ..plugins import Kinds
from ..statistics.groups import sources_of
from .direction import Direction, both_sides, less_means
from .intervals import DirectionInterval, resampled_cosines
from .sides import Side


@dataclass(frozen=True)
class DirectionFinder(Configuration, Kinds, family="direction_finder"):
    """Base of the ways of finding a direction. One says how its vector is found, and under which metric; sense and scale are the
    same for all.

    The direction points to where the concept is present; its scale is how far apart the means with and without it lie along it.
    """

    @abstractmethod
    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        """A vector [D] of any length and sense, from float64 features [N, D], booleans [N] and the source of each sample [N].

        Features are less their mean, and 0 where they are constant up to rounding.
        """

    def metric(self, features: Tensor, present: Tensor) -> Tensor | None:
        """The metric [D, D] that the direction's lengths and angles go by; None for the identity. Arguments: as of `vector`."""
        return None

    def fit(
        self,
        features: Tensor,
        present: Tensor,
        *,
        hook: str,
        name: str,
        side: Side = "vector",
        groups: Tensor | None = None,
        given: Tensor | None = None,
        **about: Any,
    ) -> Direction:
        """Find the direction of a concept in real features [N, D], where it is present [N] and where not.

        All of them but `side` and `given` are what `Capture.concept` gives. groups: the source of each sample, [N]; its own when
        None. given: a class of each sample, [N], such as its token, whose means are taken out of the features first. This finds
        what the concept adds where that class is the same, and the scale is the gap there (Frisch, Waugh and Lovell).

        Raises ValueError as `both_sides` does, where no class of `given` has both, for features that are not finite or do not
        vary as they must, and for a vector of no length, TypeError for complex features.
        """
        if features.ndim != 2 or present.shape != (len(features),):
            raise ValueError(f"{name}: features are [N, D], present is [N]; got {tuple(features.shape)}, {tuple(present.shape)}")
        wide, present = varying(features), both_sides(present, name)
        wide = wide if given is None else less_means(wide, given)
        found = self.vector(wide, present, sources_of(groups, len(wide)))
        details = {"method": self.kind.replace("_", " "), "metric": self.metric(wide, present), "given": given} | about
        return Direction.along(found, features, present, hook=hook, name=name, side=side, **details)


@dataclass(frozen=True)
class MeanDifference(DirectionFinder, kind="mean_difference"):
    """The difference of the means with and without the concept."""

    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        return features[present].mean(0) - features[~present].mean(0)


@dataclass(frozen=True)
class WhitenedMeanDifference(DirectionFinder, kind="whitened_mean_difference"):
    """The difference d of the means, under the metric M = S^{-1} of the covariance within the two sides.

    Its coordinate d^T S^{-1} x reads the concept (Fisher 1936), adding it moves one mean to the other, and removing it is LEACE's
    oblique projection (Belrose et al. 2023, arXiv:2306.03819): one direction under one metric for all three. Cosines under it
    compare concepts where activations vary alike in all directions. S is shrunk towards its mean variance.
    """

    shrinkage: Annotated[float, Range(above=0, most=1)] = 0.01
    """This share of the covariance is that of features that all vary alike."""

    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        return features[present].mean(0) - features[~present].mean(0)

    def metric(self, features: Tensor, present: Tensor) -> Tensor:
        sides = [features[mask] - features[mask].mean(0) for mask in (present, ~present)]
        within = (sides[0].T @ sides[0] + sides[1].T @ sides[1]) / len(features)
        if not bool(within.diagonal().any()):
            raise ValueError("the samples of each side are all alike; there is no covariance within them to whiten by")
        unit = within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
        return torch.linalg.inv((1 - self.shrinkage) * within + self.shrinkage * unit)


@dataclass(frozen=True)
class Reading(DirectionFinder, kind="reading"):
    """The weights of a linear probe: what has to be looked along to tell whether the concept is present.

    With linear discriminant analysis it is the difference of means whitened by the covariance within the two sides.
    """

    estimator: Estimator = field(default_factory=Logistic)
    """These probes are fitted, which must be linear."""

    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        return self.estimator.fit_linear(features, present.long(), groups).contrast


@dataclass(frozen=True)
class PrincipalComponent(DirectionFinder, kind="principal_component"):
    """A principal component of the activations, which knows nothing of the concept but its sense."""

    number: Count = 1
    """The components are numbered from 1, which has the largest variance."""

    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        centred = features - features.mean(0)
        _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
        rank = int((sizes > 1e-10 * sizes[0]).sum())
        if self.number > rank:
            raise ValueError(f"there is no component {self.number} of features {tuple(features.shape)}, which vary along {rank}")
        return axes[self.number - 1]


@dataclass(frozen=True)
class KMeans(DirectionFinder, kind="k_means"):
    """The difference of the centres of two clusters, which knows nothing of the concept but its sense."""

    seed: Natural = 0
    """The first centres are drawn from this seed."""

    def vector(self, features: Tensor, present: Tensor, groups: Tensor) -> Tensor:
        centres = TheirKMeans(2, n_init=10, random_state=self.seed).fit(features.numpy()).cluster_centers_
        return torch.from_numpy(centres[1] - centres[0]).double()


def direction_interval(
    finder: DirectionFinder,
    features: Tensor,
    present: Tensor,
    *,
    hook: str,
    name: str,
    side: Side = "vector",
    groups: Tensor | None = None,
    given: Tensor | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> DirectionInterval:
    """Find a direction, and again in bootstrap resamples of whole groups. Arguments: as of `DirectionFinder.fit`.

    A resample that lacks one of the two sides is drawn again. Raises ValueError where fewer than two groups have the concept, or
    fewer than two lack it somewhere: one says nothing of how groups differ.
    """
    sources = sources_of(groups, len(features))
    present = both_sides(present, name)
    for side_, said in ((present, "with"), (~present, "without")):
        if len(sources[side_].unique()) < 2:
            raise ValueError(f"{name}: an interval needs at least two groups that have samples {said} the concept")

    def find(rows: Tensor) -> Direction | None:
        own = present[rows]
        if own.all() or not own.any():
            return None
        among = None if given is None else given[rows]
        found = finder.fit(features[rows], own, hook=hook, name=name, side=side, groups=sources[rows], given=among)
        return found.under(whole.metric)

    whole = finder.fit(features, present, hook=hook, name=name, side=side, groups=sources, given=given)
    cosines = resampled_cosines(whole, find, sources, resamples, seed)
    return DirectionInterval(whole, cosines, len(sources.unique()))
