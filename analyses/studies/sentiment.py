"""The direction of sentiment (Tigges et al. 2023, arXiv:2310.15154), in a small model of reviews from templates.

Five ways of finding the direction before a verdict are compared, in the layer that validation data chooses, and the verdicts are
looked at with it taken out and turned around. The same is done with the direction behind the first layer of all words from where
the sentiment was said on: at all words, and at the commas alone, where what was said may be summed up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from typing import ClassVar

import torch
from torch import Tensor

from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.configuration import Count
from ...probe.estimators.linear_discriminant import LinearDiscriminant
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.mixers import GatedDeltaNet, MixerConfig
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.subspaces.direction import Direction
from ...probe.subspaces.finders import DirectionFinder, KMeans, MeanDifference, PrincipalComponent, Reading
from ...probe.tasks.base import IGNORED, Batch, Split, generator_for
from ...probe.tasks.reviews import DISLIKED, LIKED, Reviews
from ..behaviour.causal_check import causal_check, join_causal_checks
from ..behaviour.results.causal_check import CausalCheck
from ..behaviour.results.training_curve import TrainingCurve
from ..geometry.direction_map import direction_cosines

HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
FINDERS: dict[str, DirectionFinder] = {
    "mean difference": MeanDifference(),
    "logistic": Reading(),
    "discriminant": Reading(LinearDiscriminant()),
    "component": PrincipalComponent(),
    "k-means": KMeans(),
}


@dataclass(frozen=True)
class SentimentStudy(Study, kind="sentiment"):
    """A direction of sentiment, found in five ways and taken out."""

    task: Reviews = field(default_factory=Reviews)
    """The model learns these sentences."""
    training: Training = field(default_factory=lambda: Training(steps=250, batch=16, length=32, learning_rate=1e-2))
    mixer: MixerConfig = field(default_factory=lambda: GatedDeltaNet(heads=2, key_size=8, value_size=8))
    """The model has this token mixer."""
    width: Count = 32
    """The residual stream has this many channels."""
    sequences: Count = 64
    """Directions are fitted on this many sequences, and checked on as many others."""
    randoms: Count = 100
    """So many random directions stand beside each check."""

    question: ClassVar[str] = "Does one direction carry sentiment, whichever way it is found, and does the verdict need it?"
    time: ClassVar[str] = "1 min"

    def models(self) -> dict[str, ModelConfig]:
        return {"model": ModelConfig(self.task.vocabulary, self.width, 2, self.mixer, seed=self.seed)}

    def execute(self, run: Run) -> None:
        model, history = run.train("model", self.models()["model"], self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories={"model": history})
        run.compute(("probes", "direction_cosines", "causal_check"), self._look, model=model)

    def _look(self, model: Model) -> dict[str, Result]:
        sets = [self._batch("validation", 1), self._batch("test", 2)]
        before, held_out = (capture(model, [_only(batch, "before_verdict")], HOOKS) for batch in sets)
        fitted = ProbeSweep(control_context=6, seed=self.seed).fit(before, labels=["sentiment", "topic"])
        probes = fitted.score(held_out)
        chosen = max(HOOKS, key=lambda hook: fitted.probe(hook, "sentiment").validation)
        found = {name: _found(finder, name, before, chosen) for name, finder in FINDERS.items()}
        said = _found(MeanDifference(), "said", capture(model, [_only(sets[0], "sentiment")], HOOKS[:1]), HOOKS[0])
        commas, read = sets[1].labels["delimiter"] == 1, float(probes.value("accuracy", label="sentiment", hook=chosen))
        checks = [
            self._check(model, found["mean difference"], sets[1], None, "all words", read),
            self._check(model, said, sets[1], None, "all words", nan),
            self._check(model, said, sets[1], commas, "commas alone", nan),
        ]
        cosines = direction_cosines(list(found.values()))
        return {"probes": probes, "direction_cosines": cosines, "causal_check": join_causal_checks(checks)}

    def _check(
        self, model: Model, direction: Direction, batch: Batch, changed: Tensor | None, name: str, accuracy: float
    ) -> CausalCheck:
        """How many verdicts are right with the direction changed at some words."""
        return causal_check(
            model,
            direction,
            batch,
            measure=self.verdict_is_right,
            where=batch.labels["before_verdict"] == 1,
            changed=changed,
            randoms=self.randoms,
            accuracy=accuracy,
            name=name,
            seed=self.seed,
        )

    def verdict_is_right(self, logits: Tensor, batch: Batch) -> Tensor:
        """1 where the words of liking are together likelier than those of disliking and the sentence was good, or the reverse."""
        liked, disliked = (logits[..., self.task.tokens_of(words)].logsumexp(-1) for words in (LIKED, DISLIKED))
        return ((liked > disliked) == (batch.labels["sentiment"] == 2)).double()

    def _batch(self, split: Split, stream: int) -> Batch:
        return self.task.batch(self.sequences, self.training.length, split, generator_for(self.seed, 500 + stream), labels=True)


def _only(batch: Batch, where: str) -> Batch:
    """The batch with its sentiment and topic where another label is not 0: elsewhere there is none."""
    held = batch.labels[where] != 0
    labels = {name: torch.where(held, batch.labels[name], IGNORED) for name in ("sentiment", "topic")}
    return Batch(batch.tokens, batch.targets, labels, batch.groups)


def _found(finder: DirectionFinder, name: str, seen: Capture, hook: str) -> Direction:
    """The direction from bad to good among the samples that have a sentiment."""
    label = seen.label("sentiment")
    held = label != IGNORED
    return finder.fit(seen.features(hook)[held], label[held] == 2, hook=hook, name=name, groups=seen.sample_groups[held])
