"""P099: Project and Probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ....probe.estimators.logistic import Logistic
from ....probe.runs.run import Run
from ....probe.subspaces.subspace_finders import ProjectAndProbe
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, equals

SIZE, SOURCE, TESTED, DRAWS, COUNTS = 64, 4000, 4000, 10, (4, 8, 16, 32, 64, 256, 1024)
SPURIOUS, CORE, SHARE = 3.0, (1.2, 1.2), 0.95
PROBE = Logistic(penalties=(1e-2,), folds=2)

ORTHONORMAL = "basis against an orthonormal one"
FEW = "accuracy from 8 samples of the target, 4 directions less all features"
MANY = "the same from 1024 samples"
WHOLE = "share of answers that differ with as many directions as features"
FIRST = "accuracy from 1024 samples, 4 directions less the first alone"
BY_COUNT = Axes("target without the spurious feature", "target samples", "accuracy", x_log=True)


@dataclass(frozen=True)
class FewSamples(Claim, kind="p099-few-samples"):
    """A source in which one feature goes with the label, and a target in which it does not."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""

    paper, scope = "P099", Scope.CONSTRUCTION
    statement = (
        "A probe of a few orthogonal directions that each tell the source's classes apart learns the target from few samples "
        "better than one of all features, the later directions hold what the first leaves out, and with many samples the "
        "advantage is gone."
    )
    measurements = (
        at_most(ORTHONORMAL, 1e-6, "absolute error"),
        at_least(FEW, 0.03, "accuracy"),
        equals(MANY, 0.0, 0.03, "accuracy"),
        at_most(WHOLE, 0.01, "share"),
        at_least(FIRST, 0.03, "accuracy"),
    )
    panels = (BY_COUNT,)
    note = "The features are planted; how the best number of directions grows with the shift is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        source, label = _samples(seed, SOURCE, SHARE)
        found, few = Findings(), ProjectAndProbe(rank=4).fit(source, label, hook="features", name="label")
        found.numbers[ORTHONORMAL] = float((few.basis.mT @ few.basis - torch.eye(4)).abs().max())
        projections: dict[str, Callable[[Tensor], Tensor]] = {
            "all": lambda x: x,
            "four": few.coordinates,
            "first": lambda x: few.coordinates(x)[:, :1],
        }
        curves = {name: [_accuracy(project, count, seed) for count in COUNTS] for name, project in projections.items()}
        found.numbers |= {FEW: curves["four"][1] - curves["all"][1], MANY: curves["four"][-1] - curves["all"][-1]}
        found.numbers[FIRST] = curves["four"][-1] - curves["first"][-1]
        whole = ProjectAndProbe(rank=SIZE).fit(source, label, hook="features", name="label")
        target, own = _samples(1000 + seed, 400 + TESTED, 0.5)
        answers = [_answers(x, own, 400) for x in (target, whole.coordinates(target))]
        found.numbers[WHOLE] = float((answers[0] != answers[1]).double().mean())
        for name, values in curves.items():
            found.curves[BY_COUNT.title, name] = (COUNTS, values)
        return found


def _samples(seed: int, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Features [N, D] turned at random, and labels [N], with which a strong feature goes in a share of samples."""
    draw, turn = seeded(seed), torch.linalg.qr(seeded(7)(SIZE, SIZE)).Q
    label = torch.arange(count) % 2
    sign = 2.0 * label.double() - 1
    x = draw(count, SIZE)
    agrees = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < share
    x[:, 0] += SPURIOUS / 2 * torch.where(agrees, sign, -sign)
    for place, strength in enumerate(CORE, 1):
        x[:, place] += strength / 2 * sign
    return x @ turn, label


def _accuracy(project: Callable[[Tensor], Tensor], count: int, seed: int) -> float:
    """On the target, of probes fitted to `count` samples of it, the mean over draws."""
    right = []
    for number in range(DRAWS):
        x, label = _samples(1000 * (DRAWS * seed + number + 1), count + TESTED, 0.5)
        right.append((_answers(project(x), label, count) == label[count:]).double().mean())
    return float(torch.stack(right).mean())


def _answers(x: Tensor, label: Tensor, fitted: int) -> Tensor:
    """What a probe of the first samples answers to the others."""
    probe = PROBE.fit(x[:fitted], label[:fitted])
    return probe.predict(x[fitted:])
