"""P191: the causal inner product of the linear representation hypothesis."""

from __future__ import annotations

from itertools import combinations, product

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.subspaces.causal_inner_product import CausalInnerProduct
from ....probe.subspaces.direction import Direction
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

CONCEPTS, SIZE, NOISE = 5, 8, 0.15

WHITE = "metric times covariance against the identity"
CAUSAL, EUCLIDEAN = "mean |cosine| of different concepts, causal", "mean |cosine| of different concepts, Euclidean"
LEFT_OUT = "share of (concept pair, random pair) in which the concept's own direction tells the concept pair (AUC)"
MOVED = "log-odds that steering moves of other concepts, over those of its own, causal"
MOVED_PLAIN = "the same, steering along the unembedding's own direction"
STEERED = Axes("steering along one concept", "concept whose log-odds are read", "log-odds moved, over the largest")


class CausalGeometry(Claim, kind="p191-causal-geometry"):
    """An unembedding of all combinations of five concepts, squeezed by a linear map so that concepts overlap, with noise."""

    paper, scope = "P191", Scope.CONSTRUCTION
    statement = (
        "Under the inverse covariance of the unembedding, concepts that vary apart are orthogonal though they overlap as "
        "vectors; a concept's direction tells pairs that it was not made from, and its image C^-1 g steers it and leaves the "
        "others."
    )
    measurements = (
        at_most(WHITE, 1e-6, "absolute error"),
        at_most(CAUSAL, 0.1, "cosine"),
        at_least(EUCLIDEAN, 0.25, "cosine"),
        at_least(LEFT_OUT, 0.75, "AUC"),
        at_most(MOVED, 0.15, "ratio"),
        at_least(MOVED_PLAIN, 0.25, "ratio"),
    )
    panels = (STEERED,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        tokens = torch.tensor(list(product((0, 1), repeat=CONCEPTS)))
        squeezed = torch.linalg.qr(draw(SIZE, SIZE)).Q * torch.logspace(-0.6, 0.6, SIZE, dtype=torch.float64)
        rows = (tokens.double() @ draw(CONCEPTS, SIZE) + NOISE * draw(len(tokens), SIZE)) @ squeezed.mT @ draw(SIZE, SIZE)
        unembedding = rows.mT
        product_ = CausalInnerProduct.of(unembedding)
        pairs = [_pairs(tokens, concept) for concept in range(CONCEPTS)]
        concepts = [product_.concept(unembedding, own, hook="unembedding", name=str(i)) for i, own in enumerate(pairs)]
        eye = torch.eye(SIZE, dtype=torch.float64)
        found = Findings({WHITE: float((product_.metric @ product_.covariance - eye).abs().max())})
        found.numbers |= {CAUSAL: _overlap(concepts), EUCLIDEAN: _overlap([one.under(None) for one in concepts])}
        found.numbers[LEFT_OUT] = _told_apart(product_, unembedding, pairs, seed)
        for what, name, steering in (
            (MOVED, "causal", [product_.steering(one) for one in concepts]),
            (MOVED_PLAIN, "as it is", [one.under(None) for one in concepts]),
        ):
            moved = torch.stack([_moved(one, unembedding, pairs) for one in steering])
            own = moved.diagonal().abs()
            others = (moved.abs().sum(1) - own) / (CONCEPTS - 1)
            found.numbers[what] = float((others / own).mean())
            found.curves[STEERED.title, name] = (list(range(CONCEPTS)), (moved[0] / own.max()).tolist())
        return found


def _pairs(tokens: Tensor, concept: int) -> list[tuple[int, int]]:
    """The tokens without and with a concept that agree in all others."""
    step = 2 ** (CONCEPTS - 1 - concept)
    return [(place, place + step) for place in range(len(tokens)) if tokens[place, concept] == 0]


def _overlap(concepts: list[Direction]) -> float:
    return float(torch.tensor([abs(a.cosine(b)) for a, b in combinations(concepts, 2)]).mean())


def _told_apart(metric: CausalInnerProduct, unembedding: Tensor, pairs: list[list[tuple[int, int]]], seed: int) -> float:
    """The mean over concepts of the area under the curve of left-out pairs against random pairs of tokens."""
    generator, areas = torch.Generator().manual_seed(seed), []
    for own in pairs:
        drawn = [(int(a), int(b)) for a, b in torch.randint(0, unembedding.shape[1], (64, 2), generator=generator) if a != b]
        direction = metric.concept(unembedding, own, hook="unembedding", name="own")
        apart = (unembedding[:, [b for _, b in drawn]] - unembedding[:, [a for a, _ in drawn]]).mT
        areas.append((metric.left_out(unembedding, own)[:, None] > direction.project(apart)).double().mean())
    return float(torch.stack(areas).mean())


def _moved(steering: Direction, unembedding: Tensor, pairs: list[list[tuple[int, int]]]) -> Tensor:
    """How far adding a direction to the stream moves the log-odds of each concept, in the mean over its pairs, [concepts]."""
    logits = steering.add(torch.zeros(SIZE, dtype=torch.float64), 1.0) @ unembedding
    return torch.stack([torch.stack([logits[b] - logits[a] for a, b in own]).mean() for own in pairs])
