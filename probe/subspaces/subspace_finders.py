"""Ways of finding a subspace: orthogonal directions that tell classes apart, go with numbers, or vary the most."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..captures.capture import are_classes, fully_labelled, labelled
from ..configuration import Configuration, Count
from ..errors import CannotFitError
from ..estimators.estimator import Estimator
from ..estimators.gram import square
from ..estimators.logistic import Logistic
from ..estimators.standardisation import varying
from ..plugins import Kinds
from ..statistics.groups import sources_of
from .intervals import SubspaceInterval, resampled_cosines
from .sides import Side
from .subspace import Subspace


@dataclass(frozen=True)
class SubspaceFinder(Configuration, Kinds, family="subspace_finder"):
    """Base of the ways of finding a subspace of a given rank in features with labels."""

    rank: Count = 2
    """The subspace has this many dimensions."""

    @abstractmethod
    def basis(self, features: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        """An orthonormal basis [D, rank], the directions in the order in which they were found.

        features: [N, D], centred, in float64. labels: [N], or numbers [N, k]. groups: the source of each sample, [N].
        """

    def fit(
        self,
        features: Tensor,
        labels: Tensor,
        *,
        hook: str,
        name: str,
        side: Side = "vector",
        groups: Tensor | None = None,
        **about: object,
    ) -> Subspace:
        """Find the subspace in real features [N, D] with labels: classes [N]; for some kinds numbers, [N] or [N, k].

        Samples without a label (-100, or nan) are left out. groups: the source of each sample, [N]; its own when None. Raises
        ValueError for features that are not finite, for labels of another length, where they do not differ, and where the
        features do not vary along as many directions as the rank; TypeError for complex features.
        """
        if features.ndim != 2 or len(labels) != len(features):
            raise ValueError(f"{name}: features are [N, D] with N labels, got {tuple(features.shape)} and {tuple(labels.shape)}")
        held = fully_labelled(labels)
        own = labels[held]
        if not len(own) or bool((own == own[0]).all()):
            raise CannotFitError(f"{name}: the labels do not differ")
        centred = varying(features[held])
        variances = torch.linalg.eigvalsh(square(centred if len(centred) >= centred.shape[1] else centred.T))
        most = int((variances > 1e-12 * variances[-1]).sum())
        if self.rank > most:
            raise CannotFitError(f"{name}: features vary along {most} directions, not {self.rank}; take a lower rank")
        sources = sources_of(groups, len(features))[held]
        found = self.basis(centred, own, sources).to(torch.promote_types(features.dtype, torch.float32))
        details = {"method": self.kind.replace("_", " "), "samples": len(own)} | about
        return Subspace(found, hook, name, side, about=details)


@dataclass(frozen=True)
class ProjectAndProbe(SubspaceFinder, kind="project_and_probe"):
    """Project and Probe (Chen et al. 2023, arXiv:2302.05441): directions that each tell the classes apart without those before.

    Direction i is what a linear probe reads in the features projected off directions 1 to i - 1; of more than two classes, that
    along which the differences of its rows of weights are largest. Classes of another data set are then told apart by a probe of
    `subspace.coordinates(features)`: few dimensions need few samples, and later ones hold what the first leaves out. With as many
    directions as features it is a turn of them, and the probe is that of all features.
    """

    estimator: Estimator = field(default_factory=lambda: Logistic(penalties=(1e-3,)))
    """These probes are fitted, which must be linear."""

    def basis(self, features: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        found = features.new_zeros(features.shape[1], 0)
        for _ in range(self.rank):
            left = features - features @ found @ found.T
            weights = self.estimator.fit_linear(left, labels, groups).weights.double()
            apart = (weights - weights.mean(0) if len(weights) > 1 else weights).T
            for _ in range(2):  # once leaves rounding
                apart = apart - found @ (found.T @ apart)
            found = torch.cat([found, torch.linalg.svd(apart, full_matrices=False)[0][:, :1]], dim=1)
        return found


@dataclass(frozen=True)
class PartialLeastSquares(SubspaceFinder, kind="partial_least_squares"):
    """Directions whose coordinates have the largest covariance with the labels, one after another (Wold 1975).

    Direction i is the leading left singular vector of X_i^T Y, where X_i lacks the scores X_j w_j of those before, so that the
    coordinates of the samples do not go together; scikit-learn's PLSRegression has them as `x_weights_`. It needs no inverse of a
    covariance, and takes more features than samples. Classes are coded as columns of ones and zeros, numbers as they are.
    """

    def basis(self, features: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        columns = (
            (labels[:, None] == labels.unique()).double() if are_classes(labels) else labels.reshape(len(labels), -1).double()
        )
        left, wanted, found = features, columns - columns.mean(0), []
        for number in range(self.rank):
            across = left.T @ wanted
            if not bool(across.norm() > 1e-10 * features.norm() * wanted.norm()):
                raise CannotFitError(
                    f"{number} directions leave nothing that goes with the labels; take a rank of at most {number}"
                )
            direction = torch.linalg.svd(across, full_matrices=False)[0][:, 0]
            scores = left @ direction
            left = left - torch.outer(scores, scores @ left / scores.square().sum())
            found.append(direction)
        return torch.linalg.qr(torch.stack(found, dim=1))[0]  # orthogonal already, but for rounding


@dataclass(frozen=True)
class PrincipalComponents(SubspaceFinder, kind="principal_components"):
    """The directions along which the features vary most, whatever the labels."""

    def basis(self, features: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        return torch.linalg.svd(features, full_matrices=False)[2][: self.rank].T


def subspace_interval(
    finder: SubspaceFinder,
    features: Tensor,
    labels: Tensor,
    *,
    hook: str,
    name: str,
    side: Side = "vector",
    groups: Tensor | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> SubspaceInterval[Subspace]:
    """Find a subspace, and again in bootstrap resamples of whole groups. Arguments: as of `SubspaceFinder.fit`.

    A resample that lacks one of the classes, or that cannot be fitted, is drawn again. Raises ValueError for fewer than two
    groups.
    """
    sources = sources_of(groups, len(features))
    known, of_classes = labelled(labels), are_classes(labels)
    classes = len(labels[known].unique()) if of_classes else 0

    def find(rows: Tensor) -> Subspace | None:
        if of_classes and len(labels[rows[known[rows]]].unique()) < classes:
            return None
        return finder.fit(features[rows], labels[rows], hook=hook, name=name, side=side, groups=sources[rows])

    whole = finder.fit(features, labels, hook=hook, name=name, side=side, groups=sources)
    return SubspaceInterval(whole, resampled_cosines(whole, find, sources, resamples, seed), len(sources.unique()))
