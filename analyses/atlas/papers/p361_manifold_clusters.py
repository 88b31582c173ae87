"""P361: noisy curves are told apart and made flat by the coding rate alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from ....probe.runs.run import Run
from ...geometry.manifold_clusters import manifold_clusters
from ...ntk.measures import effective_rank
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, NOISE, FREQUENCIES = 10, 0.03, (2.0, 3.0)

RIGHT = "{} curves: share of points in the right cluster"
BETWEEN = "{} curves: mean |cos| of the features of two clusters"
SPANNED = "{} curves: least effective dimension of a cluster"
RISE = "{} curves: rate reduction at the end over that at the start"
K_MEANS = "3 curves: share in the right cluster by k-means"
CURVES = (2, 3)
REDUCTION = Axes("rate reduction", "step", "nats")


@dataclass(frozen=True)
class CurvesAreToldApart(Claim, kind="p361-manifold-clusters"):
    """Curves on the unit sphere of R^10, with noise."""

    seeds: tuple[int, ...] = tuple(range(17, 37))
    """These seeds are others than 0 to 16, on which the settings were tried out and the spread between seeds was seen."""
    points: int = 60
    """Each curve has this many points."""
    steps: int = 300
    """Features and membership are trained together for this many steps."""

    paper, scope = "P361", Scope.TRAINED
    statement = (
        "Maximal coding rate reduction with a doubly stochastic membership tells two or three noisy curves apart without labels, "
        "and lays each into several dimensions at right angles to the others."
    )
    measurements = (
        *(at_least(RIGHT.format(count), 0.95, "accuracy") for count in CURVES),
        *(at_most(BETWEEN.format(count), 0.1, "cosine") for count in CURVES),
        *(at_least(SPANNED.format(count), 2.0, "dimensions") for count in CURVES),
        *(at_least(RISE.format(count), 1.5, "ratio") for count in CURVES),
        at_most(K_MEANS, 0.9, "accuracy"),
    )
    panels = (REDUCTION,)
    note = "With a temperature of 0.1 in the place of 0.5 the curves are cut into shorter pieces. Images are not tried."

    def small(self) -> Self:
        return replace(self, steps=100)

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        for count in CURVES:
            points, curve = _curves(count, self.points, seed)
            clusters = manifold_clusters(points, count, steps=self.steps, seed=seed)
            cosines = (clusters.features @ clusters.features.mT).abs()
            apart = curve[:, None] != curve
            own = [clusters.features[curve == one] for one in range(count)]
            found.numbers[RIGHT.format(count)] = _share_right(torch.as_tensor(clusters.clusters), curve, count)
            found.numbers[BETWEEN.format(count)] = float(cosines[apart].mean())
            found.numbers[SPANNED.format(count)] = min(effective_rank(z @ z.mT) for z in own)
            found.numbers[RISE.format(count)] = clusters.reductions[-1] / clusters.reductions[0]
            found.curves[REDUCTION.title, f"{count} curves"] = (range(self.steps), clusters.reductions)
        nearest = KMeans(count, n_init=5, random_state=seed).fit_predict(points.numpy())
        found.numbers[K_MEANS] = _share_right(torch.as_tensor(nearest), curve, count)
        return found


def _curves(count: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [count * each, 10] of curves, and the curve of each: directions of 1, sin and cos of a time between -1 and 1."""
    draw = seeded(seed)
    times = 2 * torch.special.ndtr(draw(count, each)) - 1
    waves = torch.stack([torch.ones_like(times), (FREQUENCIES[0] * times).sin(), (FREQUENCIES[1] * times).cos()], -1)
    clean = normalize(waves @ draw(count, 3, SIZE), dim=-1)
    return (clean + NOISE * draw(*clean.shape)).flatten(0, 1), torch.arange(count).repeat_interleave(each)


def _share_right(found: Tensor, truth: Tensor, count: int) -> float:
    """Under the best names of the clusters."""
    counts = torch.bincount(found.long() * count + truth, minlength=count**2).view(count, count).numpy()
    return float(counts[linear_sum_assignment(-counts)].sum() / len(truth))
