"""Next-token prediction from latent binary concepts, and how the embeddings it leads to hold them (Jiang et al. 2024).

Contexts x say some of the concepts, tokens y all of them, and p(y | x) = softmax(f(x) . g(y)) with one free vector for each
context and each token (arXiv:2403.03867). Concepts depend on each other along a random directed acyclic graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

UNKNOWN = -1


@dataclass(frozen=True)
class LatentConcepts:
    """Binary concepts c_1 .. c_m with p(c) = prod_i p(c_i | parents), drawn from a seed.

    concepts: m. dependence: the probability that an earlier concept is a parent of a later one; 0 makes them independent.
    """

    concepts: int = 4
    dependence: float = 0.0
    seed: int = 0

    @cached_property
    def tokens(self) -> Tensor:
        """The assignments that tokens stand for: [2^m, m], 0 and 1."""
        return torch.tensor(list(product((0, 1), repeat=self.concepts)))

    @cached_property
    def contexts(self) -> Tensor:
        """What contexts say: [3^m, m], 0, 1, or -1 for a concept that is left open."""
        return torch.tensor(list(product((0, 1, UNKNOWN), repeat=self.concepts)))

    @cached_property
    def joint(self) -> Tensor:
        """The probability of each assignment, [2^m], in float64: logit p(c_i = 1 | parents) = a_i + sum_j w_ij (2 c_j - 1)."""
        generator = torch.Generator().manual_seed(self.seed)
        size = (self.concepts, self.concepts)
        edges = torch.rand(size, generator=generator, dtype=torch.float64) < self.dependence
        weights = (torch.randn(size, generator=generator, dtype=torch.float64) * edges).tril(-1)
        own = 0.5 * torch.randn(self.concepts, generator=generator, dtype=torch.float64)
        said = self.tokens.double()
        logits = own + (2 * said - 1) @ weights.mT
        each = torch.where(self.tokens == 1, logits.sigmoid(), (-logits).sigmoid())
        return each.prod(1)

    @cached_property
    def probabilities(self) -> Tensor:
        """The probabilities of tokens given contexts, p(y | x) [3^m, 2^m]: p(c) among the assignments that agree with x."""
        agree = ((self.contexts[:, None] == self.tokens) | (self.contexts[:, None] == UNKNOWN)).all(2)
        held = agree * self.joint
        return held / held.sum(1, keepdim=True)


class Embeddings(NamedTuple):
    """What was trained: the vectors of contexts f [contexts, D] and of tokens g [tokens, D], and the last excess loss in nats."""

    contexts: Tensor
    tokens: Tensor
    excess: float


def train_embeddings(
    probabilities: Tensor,
    width: int,
    *,
    steps: int = 3000,
    learning_rate: float = 0.02,
    scale: float = 1e-8,
    seed: int = 0,
    advance: Callable[[int, float], None] = lambda step, loss: None,
) -> Embeddings:
    """Minimise the cross-entropy of softmax(f(x) . g(y)), summed over contexts, by plain gradient descent.

    probabilities: p(y | x), [contexts, tokens]. scale: the vectors start from normal numbers of this standard deviation. From
        very small ones descent finds directions one after the other, what they have in common first; from large ones it fits each
        context by itself.
    steps: 0 gives the start. advance: is called with each step and the mean loss of a context less the entropy of p, in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    p = probabilities.double()
    f, g = (scale * torch.randn(size, width, generator=generator, dtype=torch.float64) for size in p.shape)
    entropy = float(torch.special.entr(p).sum(1).mean())
    for step in range(steps + 1):
        logs = (f @ g.mT).log_softmax(1)
        excess = -float((p * logs).sum(1).mean()) - entropy
        advance(step, excess)
        if step < steps:
            residual = learning_rate * (logs.exp() - p)
            f, g = f - residual @ g, g - residual.mT @ f
    return Embeddings(f, g, excess)


def steering_vectors(embeddings: Tensor, assignments: Tensor) -> dict[int, Tensor]:
    """What changing each concept from 0 to 1, and no other, does to an embedding: concept -> [pairs, D].

    embeddings: [n, D]. assignments: what each stands for, [n, m], such as `LatentConcepts.tokens`.
    """
    rows = {tuple(row): place for place, row in enumerate(assignments.tolist())}
    found = {}
    for concept in range(assignments.shape[1]):
        pairs = [(place, rows.get((*row[:concept], 1, *row[concept + 1 :]))) for row, place in rows.items() if row[concept] == 0]
        kept = [(without, own) for without, own in pairs if own is not None]
        if kept:
            without, own = torch.tensor(kept).unbind(1)
            found[concept] = embeddings[own] - embeddings[without]
    return found


class ConceptAlignment(NamedTuple):
    """The cosines of steering vectors. within: the mean over pairs of one concept. across: the mean size over pairs of two."""

    within: float
    across: float


def concept_alignment(vectors: Mapping[int, Tensor]) -> ConceptAlignment:
    """Say how far each concept has one direction, and different ones orthogonal directions: concept -> steering vectors [n, D].

    Raises ValueError for fewer than two concepts, or a concept with fewer than two vectors.
    """
    if len(vectors) < 2 or any(len(own) < 2 for own in vectors.values()):
        raise ValueError("two concepts or more are compared, of two steering vectors at least")
    units = {concept: normalize(own.double(), dim=1) for concept, own in vectors.items()}
    within = []
    for own in units.values():
        above = torch.triu_indices(len(own), len(own), 1)
        within.append((own @ own.mT)[above[0], above[1]].mean())
    across = [(units[a] @ units[b].mT).abs().mean() for a, b in combinations(units, 2)]
    return ConceptAlignment(float(torch.stack(within).mean()), float(torch.stack(across).mean()))
