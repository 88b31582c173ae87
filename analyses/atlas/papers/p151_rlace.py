"""P151: R-LACE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....probe.erasure.adversarial_projection import Rlace
from ....probe.erasure.eraser import Eraser
from ....probe.erasure.nullspace_projection import Inlp
from ....probe.estimators.estimator import Estimator
from ....probe.estimators.logistic import Logistic
from ....probe.estimators.perceptron import Perceptron
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE, SAMPLES, APART = 32, 8000, 2.5
PROBE = Logistic(penalties=(1e-3,), folds=2)

BEFORE = "accuracy of a fresh linear probe above the majority, before"
LEFT = "the same, after one dimension by R-LACE"
LEFT_BY_INLP = "the same, after one dimension by INLP"
PLANTED = "cosine of R-LACE's dimension with the planted one"
IDEMPOTENT = "projecting twice against once"
TURNED = "accuracy of a hidden layer above the majority, after R-LACE, of a concept that is also in the spread"


class OneDimension(Claim, kind="p151-one-dimension"):
    """Two normal classes that differ along one direction, in noise with variances from 0.1 to 10."""

    paper, scope = "P151", Scope.CONSTRUCTION
    statement = (
        "The projection off one direction, which R-LACE finds, leaves a linear probe nothing of a binary concept, where the "
        "first dimension of INLP leaves much of it; what is in the spread and not in the means stays for a network to find."
    )
    measurements = (
        at_least(BEFORE, 0.3, "accuracy"),
        at_most(LEFT, 0.02, "accuracy"),
        at_least(LEFT_BY_INLP, 0.1, "accuracy"),
        at_least(PLANTED, 0.95, "cosine"),
        at_most(IDEMPOTENT, 1e-10),
        at_least(TURNED, 0.05, "accuracy"),
    )
    note = "Of a binary concept R-LACE's first projection, off the difference of means, is already the best that there is."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        present = torch.arange(SAMPLES) % 2
        turn = torch.linalg.qr(draw(SIZE, SIZE)).Q
        spread = torch.logspace(-0.5, 0.5, SIZE, dtype=torch.float64)
        planted = normalize(draw(SIZE), dim=0)
        noise = draw(SAMPLES, SIZE)
        x = noise * spread @ turn + APART * (present.double()[:, None] - 0.5) * planted
        wide = torch.where(present == 1, 2.0, 1.0).double()
        loud = x + (wide[:, None] - 1) * (noise[:, -1:] * turn[-1:] * spread[-1])  # one class varies more along one direction
        half = slice(0, SAMPLES // 2)
        erasers = {LEFT: Rlace(steps=40), LEFT_BY_INLP: Inlp(rounds=1, estimator=PROBE)}
        found = Findings({BEFORE: _above_majority(PROBE, x, present)})
        for what, fitter in erasers.items():
            eraser = fitter.fit(x[half], present[half], hook="features", name="class")
            found.numbers[what] = _above_majority(PROBE, eraser(x), present)
            if what == LEFT:
                found.numbers |= {PLANTED: _cosine(eraser, planted), IDEMPOTENT: difference(eraser(eraser(x)), eraser(x))}
        eraser = Rlace(steps=40).fit(loud[half], present[half], hook="features", name="class")
        found.numbers[TURNED] = _above_majority(Perceptron(penalties=(1e-2,), folds=2), eraser(loud), present)
        return found


def _cosine(eraser: Eraser, planted: Tensor) -> float:
    return float((eraser.left[:, 0] @ planted).abs())


def _above_majority(estimator: Estimator, x: Tensor, present: Tensor) -> float:
    """Of a probe fitted to the first half, on the second, whose classes are as frequent."""
    half = SAMPLES // 2
    probe = estimator.fit(x[:half], present[:half])
    return float((probe.predict(x[half:]) == present[half:]).double().mean()) - 0.5
