"""P171: linear circular optimal transport."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....probe.mixers import LRU
from ....probe.runs.run import Run
from ...spectra.circular_transport import TURN, arc, circular_distance, circular_embedding, embedded_distance
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_least, at_most

PHASES, POINTS, PAIRS = 64, 512, 40
RANGES, EACH = (0.5, 1.0, 2.0), 12  # an LRU's phases start below so many times pi; models of each range

POINT = "two points: distance against their arc"
TURNED = "embedding of turned phases against the turned embedding"
BELOW = "least that the embedded distance lies above the exact one"
ABOVE = "median of the embedded distance over the exact one"
CUT = "phases around 0: distance on a circle that is cut there over the exact one"
TOLD_APART = "share of LRUs whose range of phases the nearest mean embedding of their eigenvalues tells"
CURVE = Axes("two distributions as the second turns", "angle", "distance")


class CircularTransport(Claim, kind="p171-circular-transport"):
    """Distributions of phases are compared on the circle, and in the embedding that makes their distance a norm."""

    paper, scope = "P171", Scope.IDENTITY
    statement = (
        "Embedded by their transport from even phases, distributions on a circle have a distance that is the arc for two points, "
        "turns with them, and is never below the exact one and mostly near it; a mean of embeddings tells distributions apart, "
        "such as the phases of the eigenvalues of recurrent layers."
    )
    measurements = (
        at_most(POINT, 1e-9, "radians"),
        at_most(TURNED, 1e-9, "radians"),
        at_least(BELOW, -0.01, "radians"),
        at_most(ABOVE, 1.25, "ratio"),
        at_least(CUT, 3.0, "ratio"),
        at_least(TOLD_APART, 0.9, "share"),
    )
    panels = (CURVE,)
    note = "Times are not measured: an embedding costs one sort, an exact distance a search over cuts for each pair."

    def experiment(self, seed: int, run: Run) -> Findings:
        generator, found = torch.Generator().manual_seed(seed), Findings()
        points = TURN * torch.rand(2, PAIRS, 1, dtype=torch.float64, generator=generator)
        lie = embedded_distance(*circular_embedding(points, points=POINTS))
        found.numbers[POINT] = float((lie - arc(points[0] - points[1]).abs()[:, 0]).abs().max())
        one, other = _mixtures(PAIRS, generator), _mixtures(PAIRS, generator)
        own, turned = (circular_embedding(phases, points=POINTS) for phases in (one, one + TURN * 37 / POINTS))
        found.numbers[TURNED] = float((turned - own.roll(37, -1)).abs().max())
        exact, embedded = circular_distance(one, other), embedded_distance(own, circular_embedding(other, points=POINTS))
        found.numbers |= {BELOW: float((embedded - exact).min()), ABOVE: float((embedded / exact).median())}
        around = 0.3 * torch.randn(PHASES, dtype=torch.float64, generator=generator)
        before, after = (phases.remainder(TURN).sort().values for phases in (around - 0.1, around + 0.1))
        found.numbers[CUT] = float((before - after).square().mean().sqrt() / circular_distance(before, after))
        found.numbers[TOLD_APART] = _told_apart(seed)
        angles = torch.linspace(0, TURN, 49, dtype=torch.float64)
        moved = one[0] + angles[:, None]
        along = embedded_distance(own[0], circular_embedding(moved, points=POINTS)), circular_distance(one[:1], moved)
        for name, distances in zip(("embedded", "exact"), along, strict=True):
            found.curves[CURVE.title, name] = (angles.tolist(), distances.tolist())
        return found


def _mixtures(count: int, generator: torch.Generator) -> Tensor:
    """Phases of `count` mixtures of two normal distributions wrapped around the circle, [count, PHASES]."""
    centres, widths = TURN * torch.rand(count, 2, generator=generator), 0.1 + 0.5 * torch.rand(count, 2, generator=generator)
    which = torch.randint(0, 2, (count, PHASES), generator=generator)
    drawn = torch.randn(count, PHASES, generator=generator)
    return (centres.gather(1, which) + widths.gather(1, which) * drawn).double()


def _told_apart(seed: int) -> float:
    """Models are drawn whose phases lie below a half turn of pi, below pi, or all around; the first half gives the means."""
    embedded = torch.stack([torch.stack([_poles(one, EACH * seed + i) for i in range(EACH)]) for one in RANGES])
    means = embedded[:, : EACH // 2].mean(1)
    nearest = embedded_distance(embedded[:, EACH // 2 :, None], means).argmin(-1)
    return float((nearest == torch.arange(len(RANGES))[:, None]).double().mean())


def _poles(reach: float, seed: int) -> Tensor:
    """The embedded phases of the eigenvalues that the hook of an LRU's transition sees."""
    model = small_model(LRU(phase=reach * math.pi), seed)
    eigenvalues = observed(model, drawn_tokens(seed, 2, 1), "transition")["transition"].eigenvalues()
    return circular_embedding(eigenvalues[0, 0].flatten().angle(), points=64)
