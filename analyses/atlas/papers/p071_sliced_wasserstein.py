"""P071: sliced Wasserstein distances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...similarity.sliced_wasserstein import sliced_wasserstein
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals

SLICES, SAMPLES, SHUFFLES, SIZE, COUNTS = 10, 150, 40, 16, (4, 16, 64, 256)

ON_A_LINE = "distance on a line against sorted values"
ITSELF = "distance of a cloud from itself"
SYMMETRIC = "difference between the two orders of a pair"
TRIANGLE = "least slack of the triangle inequality with shared slices"
ROOT = "exponent of the number of slices in the spread of the distance"
MOVED = "deviations above shuffled clouds, a mean moved by one deviation"
SPREAD = Axes("distance of two clouds in 16 dimensions", "slices", "relative spread over draws of slices", x_log=True, y_log=True)


@dataclass(frozen=True)
class Distances(Claim, kind="p071-distances"):
    """Clouds on a line, in three dimensions, and in sixteen."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""

    paper, scope = "P071", Scope.CONSTRUCTION
    statement = (
        "The sliced distance is the sorted one on a line and a metric with shared slices; what random slices add to it falls "
        "as the root of their number, so that few of them see little in many dimensions."
    )
    measurements = (
        at_most(ON_A_LINE, 1e-12),
        at_most(ITSELF, 0.0, "distance"),
        at_most(SYMMETRIC, 1e-12, "distance"),
        at_least(TRIANGLE, 0.0, "distance"),
        equals(ROOT, -0.5, 0.15, "exponent"),
        at_least(MOVED, 3.0, "deviations"),
    )
    panels = (SPREAD,)
    note = "The augmented distance, of clouds that a learned map has bent, is not built."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x, y = draw(60, 1), 2 * draw(60, 1) + 1
        line = float((x.sort(0).values - y.sort(0).values).square().mean().sqrt())
        found = Findings({ON_A_LINE: abs(_shared(x, y) / line - 1)})
        one, two, three = (draw(50, 3) * (1 + place) + place for place in range(3))
        found.numbers |= {ITSELF: _shared(one, one), SYMMETRIC: abs(_shared(one, two) - _shared(two, one))}
        found.numbers[TRIANGLE] = _shared(one, two) + _shared(two, three) - _shared(one, three)
        cloud, other = draw(SAMPLES, SIZE), draw(SAMPLES, SIZE)
        moved = other + 1 / SIZE**0.5
        found.numbers[MOVED] = _above(cloud, moved, seed)
        generator = torch.Generator().manual_seed(seed)
        spreads = []
        for count in COUNTS:
            drawn = torch.tensor([sliced_wasserstein(cloud, moved, count, generator) for _ in range(SHUFFLES)])
            spreads.append(float(drawn.std() / drawn.mean()))
        found.numbers[ROOT] = exponent(COUNTS, spreads)
        found.curves[SPREAD.title, "a mean moved by one deviation"] = (COUNTS, spreads)
        return found


def _shared(first: Tensor, second: Tensor) -> float:
    """The distance with the same slices each time."""
    return sliced_wasserstein(first, second, SLICES, torch.Generator().manual_seed(0))


def _above(first: Tensor, second: Tensor, seed: int) -> float:
    """How many standard deviations a distance lies above those of the same points dealt out anew, with the same slices."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.cat([first, second])
    orders = [torch.randperm(len(both), generator=generator) for _ in range(SHUFFLES)]
    null = torch.tensor([_shared(both[order[: len(first)]], both[order[len(first) :]]) for order in orders])
    return float((_shared(first, second) - null.mean()) / null.std())
