"""P163: linear relational concepts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ....probe.estimators.linear_svm import LinearSVM
from ....probe.mixers import Attention
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.subspaces.jacobians import activation_jacobians
from ....probe.subspaces.linear_relation import LinearRelation
from ...studies.findings import Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most

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
        found = Findings(
            {LEARNED: _learned(model, torch.cat(prompts), torch.cat([first + country, first + COUNTRIES + job]), self.steps)}
        )
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
        steps = torch.stack(
            [
                concepts[int(b)].vector * concepts[int(b)].scale - concepts[int(a)].vector * concepts[int(a)].scale
                for a, b in zip(country, wanted, strict=True)
            ]
        )
        drawn = torch.randn(steps.shape, generator=generator).to(steps)
        drawn = drawn * steps.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
        for what, step in ((FLIPPED, steps), (RANDOM, drawn)):
            answers = _stepped(model, tokens[others], step[others])[:, objects].argmax(1)
            found.numbers[what] = float((answers == wanted[others]).double().mean())
        return found


def _learned(model: Model, tokens: Tensor, targets: Tensor, steps: int) -> float:
    """Train the model on all facts, and give the share that it then has right."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(tokens)[:, -1], targets).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model.eval()(tokens)[:, -1].argmax(-1) == targets).double().mean())


@torch.no_grad()
def _stepped(model: Model, tokens: Tensor, step: Tensor) -> Tensor:
    """The last logits with a step added to each subject's activation."""

    def add(value: Tensor, hook: Any) -> Tensor:
        changed = value.clone()
        changed[:, 0] += step.to(value)
        return changed

    logits: Tensor = model.run_with_hooks(tokens, fwd_hooks=[(HOOK, add)])
    return logits[:, -1]
