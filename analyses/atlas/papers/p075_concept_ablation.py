"""P075: fine-tuning without a concept."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor

from ....probe.configuration import Count
from ....probe.mixers import Attention
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training, task_loss, train
from ....probe.subspaces.direction import Direction
from ....probe.tasks.base import IGNORED, Batch, Split, Task, draw_split, generator_for
from ...studies.findings import Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

HOOK, RELIABLE = "blocks.1.hook_resid_post", 0.85

ORDINARY = "accuracy out of distribution after ordinary fine-tuning"
ABLATED = "accuracy out of distribution after fine-tuning without the concept"
RANDOM = "accuracy out of distribution after fine-tuning without a random direction, mean"
DEEPER = "accuracy out of distribution without the concept, where the layer before is tuned too"
COST = "loss in distribution after fine-tuning without the concept, less that after ordinary fine-tuning"
GRADIENT = "gradient along the concept before the last ablation, over the whole gradient"


@dataclass(frozen=True)
class TwoTraits(Task):
    """A word that tells one trait and a word that tells another, among others, and a question at the end of the sequence."""

    tuned: bool = False
    """If true, the answer is the first trait. If false, it is both, of which the first is often told wrongly, or one of the
    answers of the other case at random, so that these are known before they have a meaning."""
    together: bool = False
    """If true, both traits are the same in every sequence."""

    words, others = 3, 8  # so many words tell each value of a trait, and so many tell nothing

    @property
    def vocabulary(self) -> int:
        return 4 * self.words + self.others + 1 + 4 + 2

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        rows = draw_split(lambda count: self._rows(count, length, generator), size, split)
        tokens, first, second = rows[:, :length], rows[:, length], rows[:, length + 1]
        answers = 4 * self.words + self.others + 1
        told = torch.where(torch.rand(size, generator=generator) < RELIABLE, first, 1 - first)
        coin = torch.rand(size, generator=generator)
        both = torch.where(coin < 0.2, 4 + (coin < 0.1).long(), 2 * told + second)
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -1] = answers + (4 + first if self.tuned else both)
        traits = {"first": first, "second": second}
        return Batch(tokens, targets, {name: value[:, None].expand(-1, length) for name, value in traits.items()})

    def _rows(self, count: int, length: int, generator: Generator) -> Tensor:
        """Sequences with both of their traits behind them, [count, length + 2]."""
        traits = torch.randint(2, (count, 2), generator=generator)
        if self.together:
            traits[:, 1] = traits[:, 0]
        said = torch.arange(0, 4 * self.words, 2 * self.words) + self.words * traits
        said = said + torch.randint(self.words, (count, 2), generator=generator)
        filled = torch.randint(self.others, (count, length - 3), generator=generator) + 4 * self.words
        order = torch.rand(count, length - 1, generator=generator).argsort(1)
        question = torch.full((count, 1), 4 * self.words + self.others)
        return torch.cat([torch.cat([said, filled], 1).gather(1, order), question, traits], 1)


@dataclass(frozen=True)
class ConceptAblation(Claim, kind="p075-concept-ablation"):
    """A model that knows two traits, one of them better, is tuned to tell the other where both always agree."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = Training(steps=250, batch=128, length=8, learning_rate=5e-3)
    """The model learns both traits with these settings."""
    tuning: Training = Training(steps=250, batch=32, length=8, learning_rate=3e-2, weight_decay=0.0)
    """Its unembedding is tuned to tell one of them with these."""
    randoms: Count = 5
    """So many random directions stand beside the concept's."""

    paper, scope = "P075", Scope.TRAINED
    statement = (
        "Fine-tuning on data where a spurious concept always agrees with the right one follows it out of distribution; with its "
        "direction taken out while fine-tuning, and left in after it, the model follows the right one at about the same loss."
    )
    measurements = (
        at_most(ORDINARY, 0.7, "accuracy"),
        at_least(ABLATED, 0.9, "accuracy"),
        at_most(RANDOM, 0.7, "accuracy"),
        at_most(COST, 0.05, "nats"),
        in_every_seed(at_most(GRADIENT, 1e-5)),
    )
    note = (
        "The unembedding alone is tuned. Where the layer before is tuned too, the model learns to follow the concept all the "
        "same: one direction in one place is not enough. Directions of components and of dictionaries are not measured."
    )

    def small(self) -> Self:
        return replace(self, randoms=1)

    def experiment(self, seed: int, run: Run) -> Findings:
        base = Model(ModelConfig(TwoTraits().vocabulary, 32, 2, Attention(heads=2), seed=seed))
        train(base, TwoTraits(), self.training, seed=seed)
        concept = self._concept(base, seed)
        ordinary, tuned = self._tuned(base, None, seed), self._tuned(base, concept, seed)
        found = Findings({ORDINARY: self._right(ordinary, seed), ABLATED: self._right(tuned, seed)})
        drawn = [self._tuned(base, _random(concept, seed, number), seed) for number in range(self.randoms)]
        found.numbers[RANDOM] = sum(self._right(model, seed) for model in drawn) / self.randoms
        deeper = self._tuned(base, concept, seed, deep=True)
        found.put(DEEPER, self._right(deeper, seed), "accuracy")
        found.numbers[COST] = self._loss(tuned, seed) - self._loss(ordinary, seed)
        found.numbers[GRADIENT] = self._gradient(base, concept, seed)
        return found

    def _concept(self, model: Model, seed: int) -> Direction:
        """The direction of the second trait at the question, behind the last layer."""
        batch = TwoTraits().batch(512, self.training.length, "validation", generator_for(seed, 630))
        with torch.no_grad():
            _, cache = model.run_with_cache(batch.tokens, names_filter=[HOOK])
        present = batch.labels["second"][:, -1] == 1
        return Direction.difference_of_means(cache[HOOK][:, -1], present, hook=HOOK, name="second trait")

    def _tuned(self, base: Model, without: Direction | None, seed: int, deep: bool = False) -> Model:
        """A copy whose unembedding, or last layer too, at a tenth of the learning rate, was tuned with a direction taken out."""
        model = copy.deepcopy(base)
        parts = ("unembed", "blocks.1") if deep else ("unembed",)
        chosen = [value for name, value in model.named_parameters() if name.startswith(parts)]
        tuning = replace(self.tuning, learning_rate=self.tuning.learning_rate / 10) if deep else self.tuning
        hooks = [] if without is None else [without.ablate()]
        train(model, TwoTraits(tuned=True, together=True), tuning, seed=seed + 1, parameters=chosen, hooks=hooks)
        return model

    @torch.no_grad()
    def _right(self, model: Model, seed: int) -> float:
        """How often the first trait is told where the two are drawn independently."""
        batch = TwoTraits(tuned=True).batch(512, self.tuning.length, "test", generator_for(seed, 631))
        return float((model(batch.tokens)[:, -1].argmax(-1) == batch.targets[:, -1]).double().mean())

    @torch.no_grad()
    def _loss(self, model: Model, seed: int) -> float:
        batch = TwoTraits(tuned=True, together=True).batch(512, self.tuning.length, "test", generator_for(seed, 632))
        return float(task_loss(model(batch.tokens), batch))

    def _gradient(self, model: Model, concept: Direction, seed: int) -> float:
        """What of the gradient that reaches the last layer's output lies along the concept, in the Euclidean norm."""
        batch = TwoTraits(tuned=True, together=True).batch(64, self.tuning.length, "train", generator_for(seed, 633))
        kept: list[Tensor] = []

        def keep(value: Tensor, hook: Any) -> None:
            value.retain_grad()
            kept.append(value)

        with model.hooks(fwd_hooks=[(HOOK, keep), concept.ablate()]):
            task_loss(model(batch.tokens), batch).backward()
        gradient = kept[0].grad
        assert gradient is not None
        return float(concept.project(gradient).norm() / gradient.norm())


def _random(like: Direction, seed: int, number: int) -> Direction:
    drawn = torch.randn(like.vector.shape, generator=generator_for(seed, 634, number))
    return Direction(drawn / drawn.norm(), like.hook, "random")
