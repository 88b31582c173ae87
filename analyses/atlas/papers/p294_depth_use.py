"""P294: whether models use their depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from scipy.stats import spearmanr

from ....probe.hooks.names import hook_name
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...behaviour.depth_use import depth_use
from ...similarity.linear_map import LinearMap
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed
from ..reviewers import TRAINING, reviewer, reviews

BEFORE = "largest change of layers before the skipped one"
EARLY = "early half of the layers: its share of the change of later tokens' answers"
DIAGONAL = "rank correlation of a layer with the deep model's layer that it maps to best"
ERROR = "error of the best maps of the shallow model's layers, over the variance"
SKIPPED = Axes("answers of later tokens when a layer is skipped", "skipped layer", "KL in nats")


@dataclass(frozen=True)
class Depth(Claim, kind="p294-depth"):
    """Layers of a model are skipped, and those of a shallower one mapped to them."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = TRAINING
    """Both models are trained with these settings."""
    layers: tuple[int, int] = (3, 6)
    """The shallow and the deep model have these numbers of layers."""

    paper, scope = "P294", Scope.TRAINED
    statement = (
        "Skipping a layer of the early half changes later tokens more than skipping one of the late half; and the layers of a "
        "shallow model map linearly to those of a deep one at the same relative depth, which is spread out and not added to."
    )
    measurements = (
        in_every_seed(at_most(BEFORE, 0.0, "relative change")),
        at_least(EARLY, 0.6, "share"),
        at_least(DIAGONAL, 0.8, "rank correlation"),
        at_most(ERROR, 0.4, "share of variance"),
    )
    panels = (SKIPPED,)
    note = "Integrated gradients and questions of several hops are not measured."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=70), layers=(2, 4))

    def experiment(self, seed: int, run: Run) -> Findings:
        shallow, deep = (
            reviewer(run, f"seed{seed}-{layers}-layers", seed, self.training, layers=layers) for layers in self.layers
        )
        table = depth_use(deep, reviews(seed, 1, 64).tokens).to_frame()
        earlier = table[table["layer"] < table["skipped"]]
        later = table[table["scope"] == "future"].drop_duplicates("skipped").set_index("skipped")["divergence"]
        half = self.layers[1] // 2
        found = Findings({BEFORE: float(earlier["change"].max()), EARLY: float(later[:half].sum() / later.sum())})
        errors = _errors(shallow, deep, seed)
        found.numbers[DIAGONAL] = float(spearmanr(range(len(errors)), errors.argmin(1)).statistic)
        found.numbers[ERROR] = float(errors.amin(1).mean())
        found.curves[SKIPPED.title, "deep model"] = (later.index.tolist(), later.tolist())
        return found


def _errors(shallow: Model, deep: Model, seed: int) -> torch.Tensor:
    """The held-out error of the map from each layer of one model to each of the other, [layers, layers]."""
    seen, held = ((_streams(model, seed, stream) for model in (shallow, deep)) for stream in (2, 3))
    (one, two), (one_held, two_held) = seen, held
    maps = [[LinearMap.least_squares(a, b, penalty=1e-4) for b in two] for a in one]
    return torch.tensor(
        [[maps[i][j].error(a, b) for j, b in enumerate(two_held)] for i, a in enumerate(one_held)], dtype=torch.float64
    )


def _streams(model: Model, seed: int, stream: int) -> list[torch.Tensor]:
    """The stream that leaves each block, at every token, [samples, width]."""
    tokens = reviews(seed, stream, 64).tokens
    names = [hook_name(layer, "hook_resid_post") for layer in range(model.layers)]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=names)
    return [cache[name].flatten(0, 1).double() for name in names]
