"""P100: a linear map from one model's representations into another model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ....probe.mixers import Attention
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...similarity.linear_map import LinearMap
from ...studies.findings import Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, in_every_seed
from ..reviewers import TASK, TRAINING, reviewer, reviews, verdicts_right

HOOK = "blocks.1.hook_resid_post"

IMAGE = "logits through the map from a linear image of the model's own stream, against its own"
OWN = "share of verdicts that the model has right"
TRAINED = "share of verdicts right, read from a softmax model of the same reviews"
UNTRAINED = "the same, less that from an untrained softmax model"


@dataclass(frozen=True)
class Stitching(Claim, kind="p100-stitching"):
    """The last stream of a softmax model is mapped to that of a Gated DeltaNet, which goes on from there."""

    seeds: tuple[int, ...] = (6, 7, 8)
    """These seeds are others than 0 to 5, on which the settings were tried out."""
    training: Training = replace(TRAINING, steps=250)
    """Both models are trained with these settings."""

    paper, scope = "P100", Scope.TRAINED
    statement = (
        "A linear map from the stream of another model lets a model go on as from its own: exactly where the one is a linear "
        "image of the other, nearly so from another architecture that learned the same reviews, and less from an untrained "
        "one."
    )
    measurements = (
        in_every_seed(at_most(IMAGE, 1e-6)),
        at_least(OWN, 0.95, "share"),
        at_least(TRAINED, 0.95, "share"),
        at_least(UNTRAINED, 0.05, "share"),
    )
    note = "Both models read text; encoders of images are not built."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=180))

    def experiment(self, seed: int, run: Run) -> Findings:
        model = reviewer(run, f"seed{seed}-own", seed, self.training)
        mixer = Attention(heads=2)
        other = reviewer(run, f"seed{seed}-other", seed, self.training, mixer=mixer)
        untrained = Model(ModelConfig(TASK.vocabulary, 32, 2, mixer, seed=seed)).eval()
        seen, held = reviews(seed, 1, 128, split="validation"), reviews(seed, 2, 128)
        own = _stream(model, held.tokens)
        skew = seeded(seed)(32, 32) + 4 * torch.eye(32, dtype=torch.float64)
        with torch.no_grad():
            logits = model(held.tokens)
        exact = LinearMap.least_squares(own.flatten(0, 1) @ skew, own.flatten(0, 1))
        found = Findings({IMAGE: difference(_through(model, held.tokens, exact, own @ skew), logits)})
        found.numbers[OWN] = verdicts_right(logits, held)
        right = []
        for source in (other, untrained):
            fitted = LinearMap.least_squares(
                _stream(source, seen.tokens).flatten(0, 1), _stream(model, seen.tokens).flatten(0, 1), penalty=1e-4
            )
            right.append(verdicts_right(_through(model, held.tokens, fitted, _stream(source, held.tokens)), held))
        return Findings(found.numbers | {TRAINED: right[0], UNTRAINED: right[0] - right[1]})


@torch.no_grad()
def _stream(model: Model, tokens: Tensor) -> Tensor:
    stream: Tensor = model.run_with_cache(tokens, names_filter=[HOOK])[1][HOOK]
    return stream.double()


@torch.no_grad()
def _through(model: Model, tokens: Tensor, fitted: LinearMap, stream: Tensor) -> Tensor:
    """The model's logits with the mapped stream in the place of its own."""
    mapped = fitted(stream.flatten(0, 1)).view(*stream.shape[:2], -1)

    def put(value: Tensor, hook: Any) -> Tensor:
        return mapped.to(value)

    logits: Tensor = model.run_with_hooks(tokens, fwd_hooks=[(HOOK, put)])
    return logits
