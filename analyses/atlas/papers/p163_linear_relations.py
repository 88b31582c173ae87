"""P163: linear relational concepts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.estimators.linear_svm import LinearSVM
from ....probe.mixers import Attention
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.subspaces.jacobians import activation_jacobians
from ....probe.subspaces.linear_relation import LinearRelation
from ...studies.findings import Findings
from ..claim import Claim, fresh_seeds
from ..hooked import logits_after_step
from ..measurement import Scope, at_least, at_most
from ..trained import learn_facts

HOOK, RELATIONS, COUNTRIES, JOBS = "blocks.0.hook_resid_pre", 2, 5, 6

LEARNED = "share of facts that the model has right"
FAITHFUL = "share of other subjects whose object the linear relation has as the model"
SORTED = "share of other subjects that lie furthest along the concept of their object"
SVM = "the same, less that of a support vector machine of as many subjects"
FLIPPED = "share of other subjects whose object a step to another concept's direction changes to that object"
RANDOM = "share that a random step as long changes to that object"


@dataclass(frozen=True)
class Relations(Claim, kind="p163-relations"):
    """A model learns where people live and what they do; the relation is taken from a few of them."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    people: int = 60
    """The model learns the facts of this many people."""
    shown: int = 10
    """The relation and the machine are made of this many of them."""
    steps: int = 300
    """Training takes this many steps of Adam, each on all facts."""

    paper, scope = "P163", Scope.TRAINED
    statement = (
        "The mean Jacobian of a few subjects says what a model answers of others, and its inverse of low rank gives a "
        "direction for each object, which sorts subjects better than a support vector machine of the same few, and changes "
        "what the model answers."
    )
    measurements = (
        at_least(LEARNED, 0.95, "share"),
        at_least(FAITHFUL, 0.8, "share"),
        at_least(SORTED, 0.7, "share"),
        at_least(SVM, 0.0, "share"),
        at_least(FLIPPED, 0.5, "share"),
        at_most(RANDOM, 0.25, "share"),
    )

    def small(self) -> Self:
        return replace(self, people=30, steps=150)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        country = torch.arange(self.people) % COUNTRIES
        job = torch.randint(0, JOBS, (self.people,), generator=generator)
        first = RELATIONS + self.people
        person = RELATIONS + torch.randperm(self.people, generator=generator)
        prompts = [torch.stack([person, torch.full_like(person, place)], 1) for place in range(RELATIONS)]
        model = Model(ModelConfig(first + COUNTRIES + JOBS, 32, 1, Attention(heads=2), seed=seed))
        answers = torch.cat([first + country, first + COUNTRIES + job])
        found = Findings({LEARNED: learn_facts(model, torch.cat(prompts), answers, self.steps)})
        tokens, objects = prompts[0], slice(first, first + COUNTRIES)
        few, others = slice(0, self.shown), slice(self.shown, None)
        jacobians = activation_jacobians(model, tokens[few], HOOK, at=0, output=lambda logits: logits[:, objects])
        relation = LinearRelation.of(jacobians)
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens, names_filter=[HOOK])
        subjects = cache[HOOK][:, 0].double()
        said = relation.predict(subjects[others])
        found.numbers[FAITHFUL] = float((said.argmax(1) == country[others]).double().mean())
        concepts = [
            relation.concept(jacobians.outputs[country[few] == one], name=str(one), rank=COUNTRIES - 1)
            for one in range(COUNTRIES)
        ]
        along = torch.stack([one.project(subjects[others]) for one in concepts], 1)
        found.numbers[SORTED] = float((along.argmax(1) == country[others]).double().mean())
        machine = LinearSVM(penalties=(1e-2,), folds=2).fit(subjects[few], country[few])
        right = (machine.predict(subjects[others]) == country[others]).double().mean()
        found.numbers[SVM] = found.numbers[SORTED] - float(right)
        wanted = (country + 1) % COUNTRIES
        vectors = torch.stack([one.vector * one.scale for one in concepts])
        steps = vectors[wanted] - vectors[country]
        drawn = torch.randn(steps.shape, generator=generator).to(steps)
        drawn = drawn * steps.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
        for what, step in ((FLIPPED, steps), (RANDOM, drawn)):
            logits = logits_after_step(model, tokens[others], HOOK, 0, step[others])
            found.numbers[what] = float((logits[:, objects].argmax(1) == wanted[others]).double().mean())
        return found
