"""P118: linear correlation of logits between families of prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ...behaviour.logit_correlation import logit_correlation
from ...studies.findings import Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most
from ..trained import learn_facts

RELATIONS, CITIES, COUNTRIES, HOBBIES = 3, 12, 4, 6

COMPOSED = "correlation of predicted and true logits of held-out people, city to country"
UNRELATED = "the same, hobby to country"
CHANCE = "city to country, less the same with people dealt out anew"
LEARNED = "share of answers that the model has right"


@dataclass(frozen=True)
class Composition(Claim, kind="p118-composition"):
    """A model learns where people live, city and country, and what they like, which has nothing to do with it."""

    seeds: tuple[int, ...] = fresh_seeds(4)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    people: int = 72
    """The model learns the facts of this many people."""
    steps: int = 400
    """Training takes this many steps of Adam, each on all facts."""

    paper, scope = "P118", Scope.TRAINED
    statement = (
        "Logits of one relation follow linearly from those of another where the one is composed of the other (the city says "
        "the country), on people that the map was not fitted to, and not where the two have nothing to do with each other."
    )
    measurements = (
        at_least(LEARNED, 0.95, "share"),
        at_least(COMPOSED, 0.8, "correlation"),
        at_most(UNRELATED, 0.3, "correlation"),
        at_least(CHANCE, 0.6, "correlation"),
    )
    note = "That fine-tuning one fact changes the other as the map says, and the errors that follow, are not measured."

    def small(self) -> Self:
        return replace(self, people=36, steps=200)

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        city = torch.randint(0, CITIES, (self.people,), generator=generator)
        country, hobby = city % COUNTRIES, torch.randint(0, HOBBIES, (self.people,), generator=generator)
        person = RELATIONS + torch.arange(self.people)
        first = RELATIONS + self.people
        answers = {"city": first + city, "country": first + CITIES + country, "hobby": first + CITIES + COUNTRIES + hobby}
        prompts = {name: torch.stack([torch.full_like(person, place), person], 1) for place, name in enumerate(answers)}
        model = Model(ModelConfig(first + CITIES + COUNTRIES + HOBBIES, 32, 1, DeltaNet(heads=2), seed=seed))
        tokens, targets = torch.cat(list(prompts.values())), torch.cat(list(answers.values()))
        right = learn_facts(model, tokens, targets, self.steps)
        families = {name: own.tolist() for name, own in prompts.items()}
        said = {name: own.unique().tolist() for name, own in answers.items()}
        scores = logit_correlation(model, families, answers=said, shuffles=49, seed=seed)
        composed = {name: float(scores.value(name, pair="city to country")) for name in ("correlation", "null")}
        found = Findings({LEARNED: right, COMPOSED: composed["correlation"]})
        found.numbers |= {CHANCE: composed["correlation"] - composed["null"]}
        found.numbers[UNRELATED] = float(scores.value("correlation", pair="hobby to country"))
        return found
