"""P144: linear maps between two spaces, and how far they are from rotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...similarity.linear_map import LinearMap, retrieved
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most
from ..reviewers import MIXER, TASK, TRAINING, reviewer, reviews

SIZE, SAMPLES, NOISE, STRETCHES = 24, 400, 0.3, (0.0, 0.25, 0.5, 1.0, 2.0)

TURN = "rotation found against the planted one"
NO_GAP = "orthogonality gap of the least-squares map of a rotation and a scale"
RISE = "least rise of the gap from a stretch of the axes to the next"
LARGEST = "gap at the largest stretch"
MAPPED = "share of held-out samples that retrieve their partner, mapped by least squares"
ERROR = "held-out error at the largest stretch, over the variance, least squares"
ROTATED = "the same, of a rotation at the best scale"
UNMAPPED = "share that retrieve their partner as they are"
HOOK = "blocks.0.hook_resid_post"
FOUND = "share of held-out texts that retrieve themselves in the other seed's space, mapped by least squares"
PLAIN = "share that do so as they are"
DEALT = "share that do so by a map of texts that were dealt anew"
RAW = "share of untrained models, less that of trained ones"
APART = "orthogonality gap of the map between the two seeds"
GAP = Axes("axes stretched by exp(s u), u from -1 to 1", "stretch s", "orthogonality gap")


class Maps(Claim, kind="p144-maps"):
    """A space and its image under a rotation, and under maps that stretch axes more and more, with noise."""

    paper, scope = "P144", Scope.CONSTRUCTION
    statement = (
        "Least squares and Procrustes find a planted rotation, whose deviation from orthogonality is 0; stretched axes raise "
        "the deviation, and then a general linear map leads samples to their partner where a rotation leaves a large error."
    )
    measurements = (
        at_most(TURN, 1e-10),
        at_most(NO_GAP, 1e-6, "gap"),
        at_least(RISE, 0.01, "gap"),
        at_least(LARGEST, 0.8, "gap"),
        at_least(MAPPED, 0.95),
        at_most(ERROR, 0.05, "share of variance"),
        at_least(ROTATED, 0.2, "share of variance"),
        at_most(UNMAPPED, 0.05),
    )
    panels = (GAP,)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        x, turn = draw(SAMPLES, SIZE), torch.linalg.qr(draw(SIZE, SIZE)).Q
        stretch = torch.linspace(-1, 1, SIZE, dtype=torch.float64)
        image = 3 * x @ turn + 1
        found = Findings({TURN: difference(LinearMap.rotation(x, image).weight, turn)})
        found.numbers[NO_GAP] = LinearMap.least_squares(x, image).orthogonality_gap
        images = [x @ ((amount * stretch).exp()[:, None] * turn) for amount in STRETCHES]
        gaps = [LinearMap.least_squares(x, own).orthogonality_gap for own in images]
        found.numbers |= {RISE: min(later - earlier for earlier, later in pairwise(gaps)), LARGEST: gaps[-1]}
        last = images[-1] + NOISE * draw(SAMPLES, SIZE)
        seen, held = slice(0, SAMPLES // 2), slice(SAMPLES // 2, None)
        fitted = LinearMap.least_squares(x[seen], last[seen])
        found.numbers |= {MAPPED: fitted.retrieved(x[held], last[held]), ERROR: fitted.error(x[held], last[held])}
        turned = LinearMap.rotation(x[seen], last[seen])(x)
        scaled = turned * float((turned[seen] * last[seen]).sum() / turned[seen].square().sum())
        left = (scaled[held] - last[held]).square().sum() / (last[held] - last[held].mean(0)).square().sum()
        found.numbers[ROTATED] = float(left)
        found.numbers[UNMAPPED] = retrieved(x[held], last[held])
        found.curves[GAP.title, "least squares"] = (STRETCHES, gaps)
        return found


@dataclass(frozen=True)
class Seeds(Claim, kind="p144-seeds"):
    """Texts are the mean of their words' vectors in the stream of two models, which differ by the seed of their training."""

    seeds: tuple[int, ...] = tuple(range(6, 14))
    """These seeds are others than 0 to 2, on which settings were tried out, and than 3 to 5, which were too few to judge by."""
    training: Training = TRAINING
    """Both models are trained with these settings."""

    paper, scope = "P144", Scope.TRAINED
    statement = (
        "A linear map that was fitted to other texts leads a text from one seed's space to itself in the other's, where as they "
        "are, and by a map of texts that were dealt anew, it is found as by chance; the map is far from a rotation, and does "
        "better between trained models than between untrained ones."
    )
    measurements = (
        at_least(FOUND, 0.6, "share"),
        at_most(PLAIN, 0.05, "share"),
        at_most(DEALT, 0.05, "share"),
        at_most(RAW, 0.0, "share"),
        at_least(APART, 0.5, "gap"),
    )
    note = "The two spaces are those of two seeds and one language; sentences of several languages are not built."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=60))

    def experiment(self, seed: int, run: Run) -> Findings:
        seen, held = reviews(seed, 1, 256, split="validation").tokens, reviews(seed, 2, 128).tokens
        own, other = 2 * seed, 2 * seed + 1
        trained = [reviewer(run, f"seed{each}", each, self.training) for each in (own, other)]
        untrained = [Model(ModelConfig(TASK.vocabulary, 32, 2, MIXER, seed=each)).eval() for each in (own, other)]
        (x, y), (first, second) = ([_texts(model, tokens) for model in trained] for tokens in (seen, held))
        fitted = LinearMap.least_squares(x, y)
        dealt = LinearMap.least_squares(x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))])
        plain = LinearMap.least_squares(*(_texts(model, seen) for model in untrained))
        raw = plain.retrieved(*(_texts(model, held) for model in untrained))
        share = fitted.retrieved(first, second)
        return Findings(
            {
                FOUND: share,
                PLAIN: retrieved(first, second),
                DEALT: dealt.retrieved(first, second),
                RAW: raw - share,
                APART: fitted.orthogonality_gap,
            }
        )


@torch.no_grad()
def _texts(model: Model, tokens: Tensor) -> Tensor:
    """The mean over positions of the stream, [B, D]."""
    stream: Tensor = model.run_with_cache(tokens, names_filter=[HOOK])[1][HOOK]
    return stream.double().mean(1)
