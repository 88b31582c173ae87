"""P138: why next-token prediction by gradient descent makes concepts linear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch.nn.functional import normalize

from ....probe.runs.run import Run
from ...geometry.latent_concepts import LatentConcepts, concept_alignment, steering_vectors, train_embeddings
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most

WITHIN, ACROSS = "tokens: mean cosine of one concept's steering vectors", "tokens: mean |cosine| of different concepts' vectors"
WITHIN_CONTEXTS = "contexts: mean cosine of one concept's steering vectors"
BEFORE = "tokens: mean cosine of one concept's steering vectors, before training"
MATCHED = "mean cosine of a concept's vectors of tokens with those of contexts"
LARGE = "tokens: mean cosine of one concept's steering vectors, trained from vectors of size 0.3"
DEPENDENT = "tokens: mean cosine of one concept's steering vectors, concepts that depend on each other"
TRAINING = Axes("steering vectors in training", "step", "mean cosine within a concept", x_log=True)


@dataclass(frozen=True)
class Origins(Claim, kind="p138-origins"):
    """Free vectors of contexts and tokens learn p(y | x) of latent binary concepts by plain gradient descent."""

    seeds: tuple[int, ...] = fresh_seeds(8)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    concepts: int = 4
    """Tokens say this many binary concepts."""
    width: int = 16
    """Vectors have this many numbers."""
    steps: int = 3000
    """Gradient descent takes this many steps."""
    scale: float = 1e-8
    """Vectors start from normal numbers of this standard deviation."""

    paper, scope = "P138", Scope.TRAINED
    statement = (
        "Trained to predict tokens from contexts by gradient descent from small vectors, each latent concept becomes one "
        "direction of tokens and of contexts, and different concepts become orthogonal ones; from large vectors they do not."
    )
    measurements = (
        at_least(WITHIN, 0.9, "cosine"),
        at_most(ACROSS, 0.15, "cosine"),
        at_least(WITHIN_CONTEXTS, 0.9, "cosine"),
        at_most(BEFORE, 0.3, "cosine"),
        at_least(MATCHED, 0.9, "cosine"),
        at_least(DEPENDENT, 0.6, "cosine"),
        at_most(LARGE, 0.6, "cosine"),
    )
    panels = (TRAINING,)

    def small(self) -> Self:
        return replace(self, concepts=3)

    def experiment(self, seed: int, run: Run) -> Findings:
        world = LatentConcepts(self.concepts, seed=seed)
        after = {
            steps: train_embeddings(world.probabilities, self.width, steps=steps, scale=self.scale, seed=seed)
            for steps in self._looks
        }
        aligned = {steps: concept_alignment(steering_vectors(own.tokens, world.tokens)) for steps, own in after.items()}
        last = after[self.steps]
        found = Findings({WITHIN: aligned[self.steps].within, ACROSS: aligned[self.steps].across, BEFORE: aligned[0].within})
        said = (world.contexts >= 0).all(1)
        of_contexts = steering_vectors(last.contexts[said], world.contexts[said])
        of_tokens = steering_vectors(last.tokens, world.tokens)
        found.numbers[WITHIN_CONTEXTS] = concept_alignment(of_contexts).within
        alike = [normalize(of_tokens[i], dim=1) @ normalize(of_contexts[i], dim=1).mT for i in range(self.concepts)]
        found.numbers[MATCHED] = float(torch.stack([own.mean() for own in alike]).mean())
        large = train_embeddings(world.probabilities, self.width, steps=self.steps, scale=0.3, seed=seed)
        found.numbers[LARGE] = concept_alignment(steering_vectors(large.tokens, world.tokens)).within
        tied = LatentConcepts(self.concepts, dependence=0.5, seed=seed)
        learned = train_embeddings(tied.probabilities, self.width, steps=self.steps, scale=self.scale, seed=seed)
        found.numbers[DEPENDENT] = concept_alignment(steering_vectors(learned.tokens, tied.tokens)).within
        steps = [count for count in self._looks if count]
        found.curves[TRAINING.title, "independent concepts"] = (steps, [aligned[count].within for count in steps])
        return found

    @property
    def _looks(self) -> tuple[int, ...]:
        return (0, self.steps // 40, self.steps // 10, self.steps)
