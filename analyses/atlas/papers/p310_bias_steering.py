"""P310: steering by trained biases."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator

from ....probe.configuration import Count
from ....probe.interventions.steering_vectors import BiasSteering, SteeringVectors
from ....probe.mixers import Attention
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training, train
from ....probe.tasks.base import IGNORED, Batch, Split, Task, generator_for
from ...studies.findings import Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals, in_every_seed
from .p075_concept_ablation import TwoTraits

BEFORE = "accuracy before"
GAIN = "gain of full fine-tuning in accuracy"
RECOVERED = "share of that gain that biases recover"
RANDOM = "share of that gain that random biases of the same lengths give, mean of draws"
CHANGED = "parameters of the model that training the biases changed"
COUNT = "numbers in the biases, over those of the model"


@dataclass(frozen=True)
class AskedTrait(Task):
    """A word that tells one trait and a word that tells another, and at the end the trait that is asked for."""

    mixed: bool = True
    """If true, either trait is asked for, and half of the questions do not say which. If false, none says; it is the first."""

    traits = TwoTraits()

    @property
    def vocabulary(self) -> int:
        return self.traits.vocabulary

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        drawn = self.traits.batch(size, length, split, generator)
        asked = torch.randint(2, (size,), generator=generator) * self.mixed
        said = (torch.rand(size, generator=generator) < 0.5) & self.mixed
        tokens, targets = drawn.tokens.clone(), torch.full_like(drawn.targets, IGNORED)
        answers = self.vocabulary - 6  # of `TwoTraits`: of both traits together, of which two ask here, and of one trait
        tokens[:, -1] = torch.where(said, answers + asked, tokens[:, -1])
        both = torch.stack([drawn.labels["first"][:, 0], drawn.labels["second"][:, 0]])
        targets[:, -1] = answers + 4 + both.gather(0, asked[None])[0]
        return replace(drawn, tokens=tokens, targets=targets)


@dataclass(frozen=True)
class Biases(Claim, kind="p310-biases"):
    """A model that tells either of two traits is tuned to tell the one of them, where no question says which."""

    seeds: tuple[int, ...] = (9, 10, 11, 12, 13)
    """These seeds are others than 0 to 8, on which the settings were tried out."""
    training: Training = Training(steps=300, batch=128, length=8, learning_rate=1e-2)
    """The model is trained with these settings on both traits."""
    tuning: Training = Training(steps=200, batch=64, length=8, learning_rate=3e-2, weight_decay=0.0)
    """Biases are trained with these settings on one trait; the whole model with a tenth of the learning rate."""
    randoms: Count = 20
    """So many draws of random biases stand beside them, of which one alone may do anything."""

    paper, scope = "P310", Scope.TRAINED
    statement = (
        "One trained vector a layer, added to the stream of a model that stays as it is, gives what fine-tuning all of it to one "
        "of the tasks that it knows gives; random vectors as long give nothing."
    )
    measurements = (
        at_least(GAIN, 0.1, "accuracy"),
        at_least(RECOVERED, 0.9, "share"),
        at_most(RANDOM, 0.3, "share"),
        in_every_seed(equals(CHANGED, 0, unit="parameters")),
    )
    note = "Fine-tuning is supervised here; the paper's is by reward, on tasks of reasoning, which are not measured."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, batch=64))

    def experiment(self, seed: int, run: Run) -> Findings:
        model = Model(ModelConfig(AskedTrait().vocabulary, 32, 2, Attention(heads=2), seed=seed))
        train(model, AskedTrait(), self.training, seed=seed)
        kept, one = copy.deepcopy(model.state_dict()), AskedTrait(mixed=False)
        steering = BiasSteering(hooks=("blocks.*.hook_resid_pre",), training=self.tuning)
        vectors = steering.fit(model, one, seed=seed + 1)
        changed = sum(int((kept[name] != value).sum()) for name, value in model.state_dict().items())
        tuned = copy.deepcopy(model)
        train(tuned, one, replace(self.tuning, learning_rate=self.tuning.learning_rate / 10), seed=seed + 1)
        batch = one.batch(512, self.tuning.length, "test", generator_for(seed, 640))
        before, full = _right(model, batch), _right(tuned, batch)
        found = Findings({GAIN: full - before, CHANGED: changed})
        found.put(BEFORE, before, "accuracy")
        found.put(COUNT, vectors.parameters / sum(value.numel() for value in model.parameters()), "share")
        generator = torch.Generator().manual_seed(seed)
        drawn = sum(_right(model, batch, vectors.random(generator)) for _ in range(self.randoms)) / self.randoms
        for what, own in ((RECOVERED, _right(model, batch, vectors)), (RANDOM, drawn)):
            found.numbers[what] = (own - before) / (full - before)
        return found


@torch.no_grad()
def _right(model: Model, batch: Batch, vectors: SteeringVectors | None = None) -> float:
    hooks: list[Any] = [] if vectors is None else vectors.hooks()
    logits = model.run_with_hooks(batch.tokens, fwd_hooks=hooks)
    return float((logits[:, -1].argmax(-1) == batch.targets[:, -1]).double().mean())
