"""P155: BASED's second-order features."""

from __future__ import annotations

import torch

from ...kernels.effective_attention import effective_attention
from ...kernels.linear_attention import linear_attention
from ...probe.mixers.feature_maps import taylor
from .agreement import difference, seeded
from .claim import Claim
from .findings import Axes, Findings, PaperStudy, measured

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
    found.axes[panel] = Axes("s", "weight before normalising", y_log=True)
    return found


CLAIM = Claim(
    number="P155",
    paper="Simple Linear Attention Language Models Balance the Recall-Throughput Tradeoff",
    reference="Arora et al. 2024, arXiv:2402.18668",
    statement="Taylor features give 1 + s + s^2 / 2, which is never negative; chunked, recurrent and quadratic forms agree.",
    study=lambda: PaperStudy(paper="P155"),
    measurements=(
        measured("phi(q) . phi(k) in float32 against 1 + s + s^2 / 2", "at most", 1e-6),
        measured("reference in float32 against the quadratic form", "at most", 1e-4),
        measured("chunked in float32 against the quadratic form", "at most", 1e-4),
        measured("least weight of its mixing matrix", "at least", 0.0),
    ),
)
