"""P191: the causal inner product of the linear representation hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, permutations, product
from typing import Self

import torch
from torch import Tensor

from ....probe.configuration import Count
from ....probe.runs.run import Run
from ....probe.subspaces.causal_inner_product import CausalInnerProduct
from ....probe.subspaces.direction import Direction
from ...geometry.direction_map import direction_cosines
from ...geometry.latent_concepts import LatentConcepts, steering_vectors, train_embeddings
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
MET, MET_PLAIN = (
    f"mean cosine of the direction that a concept's contexts move along with {what}"
    for what in ("C^-1 times its tokens' one, causal", "its tokens' one, Euclidean")
)
MET_OTHERS = "mean |cosine| of the direction of a concept's contexts with C^-1 times that of another's tokens, causal"
STEERED = Axes("steering along one concept", "concept whose log-odds are read", "log-odds moved, over the largest")
PAIRS = "concept_pairs"


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
    panels, results = (STEERED,), (PAIRS,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        tokens = torch.tensor(list(product((0, 1), repeat=CONCEPTS)))
        squeezed = torch.linalg.qr(draw(SIZE, SIZE)).Q * torch.logspace(-0.6, 0.6, SIZE, dtype=torch.float64)
        rows = (tokens.double() @ draw(CONCEPTS, SIZE) + NOISE * draw(len(tokens), SIZE)) @ squeezed.mT @ draw(SIZE, SIZE)
        unembedding = rows.mT
        product_ = CausalInnerProduct.of(unembedding)
        pairs = [_pairs(tokens, concept) for concept in range(CONCEPTS)]
        concepts = [product_.concept(unembedding, own, hook="unembedding", name=_named(i)) for i, own in enumerate(pairs)]
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
        found.results[PAIRS] = direction_cosines(concepts, {"Euclidean": None, "causal": product_.metric})
        return found


@dataclass(frozen=True)
class OneGeometry(Claim, kind="p191-one-geometry"):
    """Vectors of contexts and tokens are trained on latent concepts, and written in a skewed basis that changes no output."""

    seeds: tuple[int, ...] = tuple(range(6, 14))
    """These seeds are others than 0 to 5, on which the settings and the number of seeds were tried out."""
    concepts: Count = 4
    """There are this many binary concepts, and vectors have as many numbers."""
    steps: Count = 3000
    """Gradient descent takes this many steps."""

    paper, scope = "P191", Scope.TRAINED
    statement = (
        "What tells a concept in tokens, along which it is read, and what contexts change by it, along which it is steered, are "
        "one direction under the causal inner product, in whatever basis the model is written, and two in most as vectors."
    )
    measurements = (
        at_least(MET, 0.95, "cosine"),
        at_most(MET_PLAIN, 0.7, "cosine"),
        at_most(MET_OTHERS, 0.1, "cosine"),
        at_most(CAUSAL, 0.1, "cosine"),
        at_least(EUCLIDEAN, 0.25, "cosine"),
        at_least(LEFT_OUT, 0.75, "AUC"),
    )
    results = (PAIRS,)

    def small(self) -> Self:
        return replace(self, concepts=3)

    def experiment(self, seed: int, run: Run) -> Findings:
        world, draw, size = LatentConcepts(self.concepts, seed=seed), seeded(seed), self.concepts
        learned = train_embeddings(world.probabilities, size, steps=self.steps, seed=seed)
        turns = [torch.linalg.qr(draw(size, size)).Q for _ in range(2)]
        basis = turns[0] * torch.logspace(-0.6, 0.6, size, dtype=torch.float64) @ turns[1]
        unembedding = basis @ learned.tokens.mT
        contexts = steering_vectors(learned.contexts @ torch.linalg.inv(basis), world.contexts)
        causal = CausalInnerProduct.of(unembedding)
        pairs = [_pairs(world.tokens, concept) for concept in range(size)]
        read = [causal.concept(unembedding, own, hook="unembedding", name=_named(i)) for i, own in enumerate(pairs)]
        steered = [causal.steering(one) for one in read]
        moved = [_along(contexts[i].mean(0), causal.dual, _named(i)) for i in range(size)]
        found = Findings({MET: _mean([a.cosine(b) for a, b in zip(steered, moved, strict=True)])})
        found.numbers[MET_PLAIN] = _mean([a.under(None).cosine(b.under(None)) for a, b in zip(read, moved, strict=True)])
        found.numbers[MET_OTHERS] = _mean([abs(steered[i].cosine(moved[j])) for i, j in permutations(range(size), 2)])
        found.numbers |= {CAUSAL: _overlap(read), EUCLIDEAN: _overlap([one.under(None) for one in read])}
        found.numbers[LEFT_OUT] = _told_apart(causal, unembedding, pairs, seed)
        found.results[PAIRS] = direction_cosines(read, {"Euclidean": None, "causal": causal.metric})
        return found


def _along(vector: Tensor, metric: Tensor, name: str) -> Direction:
    return Direction(vector / (vector @ metric @ vector).sqrt(), "unembedding", name, metric=metric)


def _named(concept: int) -> str:
    return f"concept {concept + 1}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _pairs(tokens: Tensor, concept: int) -> list[tuple[int, int]]:
    """The tokens without and with a concept that agree in all others."""
    step = 2 ** (tokens.shape[1] - 1 - concept)
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
