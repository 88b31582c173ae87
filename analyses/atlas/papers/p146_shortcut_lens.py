"""P146: linear shortcuts from a layer to the last one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.hooks.names import hook_name
from ....probe.lenses.fitters import LogitLens, ShortcutLens
from ....probe.lenses.scores import score_lenses
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed
from ..reviewers import TRAINING, reviewer, reviews

NEARER = "least over layers of the logit lens's divergence from the model less the shortcut's"
AGREES = "least over layers of the shortcut's agreement with the model's likeliest token less the logit lens's"
FIRST = "agreement at the first layer, shortcut less logit lens"
LAST = "map of the last layer to itself against the identity"
SAVED = "share of layers skipped where 95% agree, shortcut less logit lens"
LAYERS = Axes("what each layer says of the next token", "layer", "divergence from the model in nats")


@dataclass(frozen=True)
class Shortcuts(Claim, kind="p146-shortcuts"):
    """The stream of each layer is read as it is, and after the least-squares map to the last layer's."""

    seeds: tuple[int, ...] = fresh_seeds(4)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = TRAINING
    """The model is trained with these settings."""
    layers: int = 4
    """The model has this many layers."""

    paper, scope = "P146", Scope.TRAINED
    statement = (
        "A linear map from a layer to the last one says what the model will say better than the stream as it is does, at "
        "every layer and most at the first, so that more layers can be left out at the same agreement."
    )
    measurements = (
        at_least(NEARER, 0.0, "nats"),
        at_least(AGREES, 0.0, "share"),
        at_least(FIRST, 0.1, "share"),
        in_every_seed(at_most(LAST, 1e-3)),
        at_least(SAVED, 0.0, "share of layers"),
    )
    panels = (LAYERS,)
    note = "Shortcuts for the parts of a block are not measured."

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=120), layers=3)

    def experiment(self, seed: int, run: Run) -> Findings:
        model = reviewer(run, f"seed{seed}", seed, self.training, layers=self.layers)
        seen = reviews(seed, 1, 128, split="validation").tokens
        lenses = [fitter.fit(model, seen) for fitter in (LogitLens(), ShortcutLens())]
        table = score_lenses(model, lenses, reviews(seed, 2, 128).tokens).to_frame()
        by = {kind: own.set_index("layer") for kind, own in table.groupby("lens")}
        before = list(range(self.layers - 1))
        nearer = (by["logit"]["divergence"] - by["shortcut"]["divergence"])[before]
        agrees = (by["shortcut"]["agreement"] - by["logit"]["agreement"])[before]
        weight = lenses[1].translators[hook_name(self.layers - 1, "hook_resid_post")].weight
        assert weight is not None
        eye = torch.eye(len(weight), dtype=weight.dtype)
        found = Findings({NEARER: float(nearer.min()), AGREES: float(agrees.min()), FIRST: float(agrees[0])})
        found.numbers[LAST] = float((weight - eye).norm() / eye.norm())
        skipped = {kind: self.layers - 1 - int((own["agreement"] >= 0.95).idxmax()) for kind, own in by.items()}
        found.numbers[SAVED] = (skipped["shortcut"] - skipped["logit"]) / self.layers
        for kind, own in by.items():
            found.curves[LAYERS.title, str(kind)] = (own.index.tolist(), own["divergence"].tolist())
        return found
