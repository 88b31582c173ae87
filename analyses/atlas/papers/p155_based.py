"""P155: BASED's second-order features."""

from __future__ import annotations

import torch

from ....kernels.effective_attention import effective_attention
from ....kernels.linear_attention import linear_attention
from ....probe.mixers.feature_maps import taylor
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

TOKENS, SIZE = 150, 8


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k, v = draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, 16)
    s = torch.einsum("bihk,bjhk->bhij", q, k) / SIZE**0.5
    scores = 1 + s + s.square() / 2
    found = Findings()
    features = torch.einsum("bihk,bjhk->bhij", taylor(q.float()), taylor(k.float()))
    found.numbers["phi(q) . phi(k) in float32 against 1 + s + s^2 / 2"] = difference(features, scores)
    weights = scores.tril()
    quadratic = torch.einsum("bhij,bjhv->bihv", weights / weights.sum(-1, keepdim=True), v)
    for implementation in ("reference", "chunked"):
        inputs = (taylor(q.float()), taylor(k.float()), v.float())
        output = linear_attention(*inputs, normalise=True, implementation=implementation).output
        found.numbers[f"{implementation} in float32 against the quadratic form"] = difference(output, quadratic)
    mixing = effective_attention(taylor(q), taylor(k), normalise=True)
    found.numbers["least weight of its mixing matrix"] = float(mixing.min())
    line = torch.linspace(-4, 4, 81)
    panel = "a score s becomes"
    found.curves[panel, "1 + s + s^2 / 2"] = (line.tolist(), (1 + line + line.square() / 2).tolist())
    found.curves[panel, "e^s"] = (line.tolist(), line.exp().tolist())
    return found


class Taylor(Claim, kind="p155-taylor"):
    """The equations."""

    paper, scope = "P155", Scope.IDENTITY
    statement = "Taylor features give 1 + s + s^2 / 2, which is never negative; chunked, recurrent and quadratic forms agree."
    measurements = (
        at_most("phi(q) . phi(k) in float32 against 1 + s + s^2 / 2", 1e-6),
        at_most("reference in float32 against the quadratic form", 1e-4),
        at_most("chunked in float32 against the quadratic form", 1e-4),
        at_least("least weight of its mixing matrix", 0.0),
    )
    panels = (Axes("a score s becomes", "s", "weight before normalising", y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
