"""P148: ideal words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.subspaces.ideal_words import IdealWords
from ...geometry.latent_concepts import LatentConcepts, train_embeddings
from ...studies.findings import Findings
from ..agreement import difference, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

SHUFFLES = 20

EXACT = "additive vectors against the sum of their ideal words, a combination that was left out among them"
RESIDUAL = "share of the variance of trained vectors that ideal words leave, over that with factors dealt out anew"
RETRIEVED = "share of combinations left out whose sum of ideal words is nearest to their trained vector"
UNTRAINED = "the same of vectors before training"
DEBIASED = "share of the variance along a factor that is left when another is taken out"


@dataclass(frozen=True)
class Sums(Claim, kind="p148-ideal-words"):
    """Vectors of tokens that say four binary factors, trained to predict them from contexts that say some."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    concepts: int = 4
    """Tokens say this many binary factors."""

    paper, scope = "P148", Scope.TRAINED
    statement = (
        "Trained representations of combinations of factors are nearly sums of one vector a factor's value: a sum finds the "
        "combination that it was not fitted to, and a factor is taken out without touching the others."
    )
    measurements = (
        in_every_seed(at_most(EXACT, 1e-12)),
        at_most(RESIDUAL, 0.1, "ratio"),
        at_least(RETRIEVED, 0.9, "share"),
        at_most(UNTRAINED, 0.4, "share"),
        at_least(DEBIASED, 0.9, "share of variance"),
    )
    note = "The vectors are free ones of tokens; the paper's are of images and text."

    def small(self) -> Self:
        return replace(self, concepts=3)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        both = torch.cartesian_prod(torch.arange(4), torch.arange(5))
        factors = {"one": both[:, 0], "two": both[:, 1]}
        additive = draw(1, 10) + draw(4, 10)[both[:, 0]] + draw(5, 10)[both[:, 1]]
        fitted = _without(7, additive, factors)
        found = Findings({EXACT: difference(fitted(factors), additive)})
        world = LatentConcepts(self.concepts, seed=seed)
        said = {str(number): own for number, own in enumerate(world.tokens.unbind(1))}
        before, after = (train_embeddings(world.probabilities, 16, steps=steps, seed=seed).tokens for steps in (0, 3000))
        words = IdealWords.fit(after, said)
        found.numbers[RESIDUAL] = words.residual(after, said) / _by_chance(after, said, seed)
        found.numbers |= {RETRIEVED: _retrieved(after, said), UNTRAINED: _retrieved(before, said)}
        left = IdealWords.fit(words.subspace("0").remove(after), said)
        found.numbers[DEBIASED] = float(left.words["1"].square().sum() / words.words["1"].square().sum())
        return found


def _without(number: int, vectors: Tensor, factors: dict[str, Tensor]) -> IdealWords:
    """The ideal words of all combinations but one."""
    seen = torch.arange(len(vectors)) != number
    return IdealWords.fit(vectors[seen], {name: own[seen] for name, own in factors.items()})


def _by_chance(vectors: Tensor, factors: dict[str, Tensor], seed: int) -> float:
    """What is left, in the mean, where the combinations' vectors are dealt out anew."""
    generator = torch.Generator().manual_seed(seed)
    dealt = (vectors[torch.randperm(len(vectors), generator=generator)] for _ in range(SHUFFLES))
    return float(torch.tensor([IdealWords.fit(own, factors).residual(own, factors) for own in dealt]).mean())


def _retrieved(vectors: Tensor, factors: dict[str, Tensor]) -> float:
    """Of combinations left out one at a time, the share that are nearest to the sum of ideal words of the others."""
    right = 0
    for number in range(len(vectors)):
        guess = _without(number, vectors, factors)({name: own[number : number + 1] for name, own in factors.items()})
        right += int((vectors - guess).norm(dim=1).argmin()) == number
    return right / len(vectors)
