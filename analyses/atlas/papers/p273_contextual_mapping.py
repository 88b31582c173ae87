"""P273: one head of rank 1 tells contexts apart, and a hard maximum does not."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..hooked import attention_reads
from ..measurement import Scope, at_least, at_most, equals

WORDS, CONTEXT, SIZE = 10, 4, 8
SOFT, HARD = 2.0, 1e6  # scales of the scores
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

RANK = "rank of the queries, keys and values of all words"
BOLTZMANN = "what the head reads against sum_i a_i e^(s a a_i) / sum_i e^(s a a_i)"
SEPARATED = "softmax: least difference of what one word reads in two contexts"
MERGED = "scores that grow to a hard maximum: the same"
GAPS = Axes(
    "least difference of what one word reads in two contexts", "scale of the scores", "difference", x_log=True, y_log=True
)


class Contexts(Claim, kind="p273-contexts"):
    """Every set of 4 of 10 words is a context, and every word of it asks once."""

    paper, scope = "P273", Scope.CONSTRUCTION
    statement = (
        "One softmax head whose query, key and value weights have rank 1 is the Boltzmann operator, and gives a word another "
        "number in each context; with a hard maximum in its place contexts with the same largest word become one."
    )
    measurements = (
        equals(RANK, 1, unit="rank"),
        at_most(BOLTZMANN, 1e-12),
        at_least(SEPARATED, 1e-9, "difference"),
        at_most(MERGED, 1e-12, "difference"),
    )
    panels = (GAPS,)
    note = "The feed-forward layers that turn these numbers into any output are not built: any distinct numbers will do for them."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        words, weight, key, value = draw(WORDS, SIZE), draw(SIZE), draw(SIZE), draw(SIZE)
        numbers = 1 + draw(WORDS).sigmoid()
        words = words + torch.outer(numbers - words @ weight, weight) / weight.square().sum()  # w . x is each word's number
        found = Findings()
        of_rank_one = [torch.outer(weight, direction) for direction in (key / key.square().sum(), key, value)]
        q, k, v = (words @ matrix for matrix in of_rank_one)
        found.numbers[RANK] = float(max(torch.linalg.matrix_rank(matrix, rtol=1e-9) for matrix in (q, k, v)))
        asking, sets = _contexts()
        a, others = numbers[asking], numbers[sets]
        for scale in (*SCALES, SOFT, HARD):
            read = attention_reads(*(x[sets][:, :, None] for x in (scale * SIZE**0.5 * q, k, v)))[:, -1, 0]
            ids = read @ value / value.square().sum()
            gap = _least_gap(asking, ids)
            if scale == SOFT:
                shares = (scale * a[:, None] * others).softmax(-1)
                found.numbers[BOLTZMANN] = float((ids - (shares * others).sum(-1)).abs().max())
                found.numbers[SEPARATED] = gap
            elif scale == HARD:
                found.numbers[MERGED] = gap
        gaps = [_least_gap(asking, ((scale * a[:, None] * others).softmax(-1) * others).sum(-1)) for scale in SCALES]
        found.curves[GAPS.title, "softmax"] = (SCALES, [max(gap, 1e-18) for gap in gaps])
        return found


def _contexts() -> tuple[Tensor, Tensor]:
    """The word that asks, [N], and the context in which it stands last, [N, 4]."""
    sets = [
        (*(one for one in context if one != word), word) for context in combinations(range(WORDS), CONTEXT) for word in context
    ]
    found = torch.tensor(sets)
    return found[:, -1], found


def _least_gap(asking: Tensor, ids: Tensor) -> float:
    """Between the numbers that a word has in two contexts, over words."""
    return min(float(ids[asking == word].sort().values.diff().min()) for word in range(WORDS))
