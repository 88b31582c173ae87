"""P259: probes that learn where to look."""

from __future__ import annotations

import torch
from torch import Tensor

from ....probe.estimators.attention_pooled import AttentionPooled, PooledProbe
from ....probe.estimators.logistic import Logistic
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, CLASSES, SEQUENCES, MARK, STRENGTH = 12, 4, 800, 4.0, 2.0
SHORT, LONG = 4, 32

POOLED = "attention-pooled probe: accuracy at length {}"
MEAN = "probe of the mean over positions: accuracy at length {}"
LOOKED = "share of long sequences in which it looks most at the marked position"
LENGTHS = Axes("classes said at one marked position", "positions", "accuracy", x_log=True)


class Needle(Claim, kind="p259-needle"):
    """One position a sequence is marked and holds its class; the others hold classes that do not count."""

    paper, scope = "P259", Scope.CONSTRUCTION
    statement = (
        "A probe that pools positions by a learned query reads a class that is said at one marked position, at any length, "
        "and looks at that position; the mean over positions loses it among the others."
    )
    measurements = (
        at_least(POOLED.format(SHORT), 0.95, "accuracy"),
        at_least(POOLED.format(LONG), 0.95, "accuracy"),
        at_most(MEAN.format(LONG), 0.5, "accuracy"),
        at_least(LOOKED, 0.95, "share"),
    )
    panels = (LENGTHS,)

    def experiment(self, seed: int, run: Run) -> Findings:
        found = Findings()
        curves: dict[str, list[float]] = {"attention-pooled": [], "mean": []}
        lengths = (SHORT, 12, LONG)
        for length in lengths:
            x, label, place = _sequences(seed, length)
            fitted = slice(0, SEQUENCES // 2), slice(SEQUENCES // 2, None)
            estimator = AttentionPooled(penalties=(1e-3,), folds=2, positions=length)
            probe = estimator.fit(x.flatten(1)[fitted[0]], label[fitted[0]])
            mean = Logistic(penalties=(1e-2,), folds=2).fit(x.mean(1)[fitted[0]], label[fitted[0]])
            held = fitted[1]
            own = float((probe.predict(x.flatten(1)[held]) == label[held]).double().mean())
            others = float((mean.predict(x.mean(1)[held]) == label[held]).double().mean())
            curves["attention-pooled"].append(own)
            curves["mean"].append(others)
            found.numbers |= {POOLED.format(length): own, MEAN.format(length): others}
            if length == LONG:
                assert isinstance(probe, PooledProbe)
                found.numbers[LOOKED] = float((probe.attention(x.flatten(1)[held]).argmax(1) == place[held]).double().mean())
        for name, values in curves.items():
            found.curves[LENGTHS.title, name] = (lengths, values)
        return found


def _sequences(seed: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences [N, length, D], the class that is said at the marked position of each, and that position."""
    draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(draw(SIZE, SIZE)).Q
    said = torch.randint(0, CLASSES, (SEQUENCES, length), generator=generator)
    place = torch.randint(0, length, (SEQUENCES,), generator=generator)
    x = 0.3 * draw(SEQUENCES, length, SIZE) + STRENGTH * axes[said]
    x[torch.arange(SEQUENCES), place] += MARK * axes[-1]
    return x, said[torch.arange(SEQUENCES), place], place
