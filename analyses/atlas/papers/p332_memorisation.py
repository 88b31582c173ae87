"""P332: how many examples one layer of attention memorises."""

from __future__ import annotations

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, seeded
from ..claim import Claim
from ..hooked import attention_reads
from ..measurement import Scope, at_least, at_most, equals

SIZE = 16  # of tokens, keys and values
SHAPES = ((2, 5), (4, 5), (4, 8), (6, 8))  # heads H, tokens n of the context
CLOSE, UNSEEN = 1e-11, 1e4  # a singular value that is none; how far a score is that softmax gives no weight

RANK = "{} heads, context of {} tokens: rank of what they read for many queries"
FITTED = "{} heads, context of {} tokens: error of H (n - 1) + 1 random labels fitted by a linear read-out"
BEYOND = "{} heads, context of {} tokens: error of twice as many"
LAW = Axes("random labels that a linear read-out fits", "queries", "relative error", y_log=False)


class Memorises(Claim, kind="p332-memorisation"):
    """Queries that share a context differ by the weights that each head gives its tokens, which add up to 1 in each head: H heads
    tell apart H (n - 1) + 1 directions and no more.
    """

    paper, scope = "P332", Scope.IDENTITY
    statement = (
        "With drawn query and key weights, what H heads read of n tokens has rank H (n - 1) + 1 over queries that share them, so "
        "that a linear read-out memorises exactly as many arbitrary labels: linear in the heads and in the context."
    )
    measurements = (
        *(equals(RANK.format(*shape), shape[0] * (shape[1] - 1) + 1, unit="rank") for shape in SHAPES),
        *(at_most(FITTED.format(*shape), 1e-6) for shape in SHAPES),
        *(at_least(BEYOND.format(*shape), 0.3, "relative error") for shape in SHAPES),
    )
    panels = (LAW,)
    note = "Heads whose queries and keys are trained with the read-out may memorise more; they are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        for heads, context in SHAPES:
            capacity = heads * (context - 1) + 1
            features = _read(draw, heads, context, 2 * capacity)
            values = torch.linalg.svdvals(features)
            found.numbers[RANK.format(heads, context)] = float((values > CLOSE * values[0]).sum())
            found.numbers[FITTED.format(heads, context)] = _unfitted(features[:capacity], draw(capacity))
            found.numbers[BEYOND.format(heads, context)] = _unfitted(features, draw(2 * capacity))
            counts = [round(capacity * share / 4) for share in range(1, 9)]
            errors = [_unfitted(features[:count], draw(count)) for count in counts]
            found.curves[LAW.title, f"{heads} heads, {context} tokens: {capacity}"] = (counts, errors)
        return found


def _read(draw: Draw, heads: int, context: int, queries: int) -> Tensor:
    """What the package's attention reads at the query that follows a context, heads side by side, [queries, H V]. The context is
    the same for all of them, and the query, which follows it, is not attended to.
    """
    tokens, asked = draw(context, SIZE), draw(queries, SIZE)
    weights = [draw(heads, SIZE, SIZE) / SIZE**0.5 for _ in range(3)]
    k, v = (torch.einsum("nd,hde->nhe", tokens, weight).expand(queries, -1, -1, -1) for weight in weights[:2])
    q = torch.einsum("td,hde->the", asked, weights[2])[:, None]
    unseen = -UNSEEN * q / q.square().sum(-1, keepdim=True)
    read = attention_reads(
        q.expand_as(k[:, :1]).expand(-1, context + 1, -1, -1), torch.cat([k, unseen], 1), torch.cat([v, 0 * q], 1)
    )
    return read[:, -1].flatten(1)


def _unfitted(features: Tensor, labels: Tensor) -> float:
    """|F w - y| / |y| of the least squares, singular values that are none left out."""
    weights = torch.linalg.pinv(features, rtol=CLOSE) @ labels
    return float((features @ weights - labels).norm() / labels.norm())
