"""P258: features of sparse autoencoders for classification."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....probe.dictionaries.trainers import BatchTopK
from ....probe.estimators.estimator import Estimator
from ....probe.estimators.logistic import Logistic
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import Draw, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, equals

SIZE, ATOMS, ACTIVE, NOISE = 24, 48, 3, 0.02
SEQUENCES, LENGTH = 2400, 8
PROBE: Estimator = Logistic(penalties=(1e-3, 1e-2), folds=3)

FOUND = "mean over planted atoms of the largest cosine with a decoder row"
FIRING = "features of a sample that fire, over planted ones"
FEATURES = "accuracy from the largest value of each feature over the sequence"
BINARY = "the same from whether each feature fires at all, less that"
LAST = "accuracy from features, less that from the last token's activation"
MEAN = "accuracy from features, less that from the mean activation"


@dataclass(frozen=True)
class SparseFeatures(Claim, kind="p258-sparse-features"):
    """Sums of few planted atoms, and sequences of them with one label: of which half of the atoms more occur."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    steps: int = 1500
    """The autoencoder is trained for this many steps."""

    paper, scope = "P258", Scope.TRAINED
    statement = (
        "A sparse autoencoder finds planted atoms, and a linear probe of pooled features classifies sequences better than one "
        "of raw activations, also where features only say whether they fire."
    )
    measurements = (
        at_least(FOUND, 0.9, "cosine"),
        equals(FIRING, 1.0, 0.25, "ratio"),
        at_least(FEATURES, 0.75, "accuracy"),
        equals(BINARY, 0.0, 0.03, "accuracy"),
        at_least(LAST, 0.05, "accuracy"),
        at_least(MEAN, 0.05, "accuracy"),
    )
    note = "Transfer between models and languages is not measured; atoms are planted, not those of a language model."

    def small(self) -> Self:
        return replace(self, steps=500)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        atoms = normalize(draw(ATOMS, SIZE), dim=1)
        samples, _ = _sums(draw, atoms, 8000, seed)
        trainer = BatchTopK(features=2 * ATOMS, k=ACTIVE, steps=self.steps, seed=seed)
        dictionary = trainer.fit(samples.float())
        rows = normalize(dictionary.decoder.double(), dim=1)
        x, codes = _sums(draw, atoms, SEQUENCES * LENGTH, seed + 1)
        features = dictionary.encode(x.float()).double()
        found = Findings({FOUND: float((atoms @ rows.mT).amax(1).mean())})
        found.numbers[FIRING] = float((features > 0).double().sum(1).mean()) / ACTIVE
        shape = (SEQUENCES, LENGTH, -1)
        there = (codes.view(*shape) > 0).any(1)
        label = (there[:, ::2].sum(1) > there[:, 1::2].sum(1)).long()
        scores = {
            name: _accuracy(pooled, label)
            for name, pooled in {
                "largest": features.view(*shape).amax(1),
                "fires": (features.view(*shape).amax(1) > 0).double(),
                "last": x.view(*shape)[:, -1],
                "mean": x.view(*shape).mean(1),
            }.items()
        }
        best = scores["largest"]
        found.numbers |= {
            FEATURES: best,
            BINARY: scores["fires"] - best,
            LAST: best - scores["last"],
            MEAN: best - scores["mean"],
        }
        return found


def _sums(draw: Draw, atoms: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Samples [count, D], each the sum of a few atoms with strengths from 0.5 to 1.5, and the strengths [count, atoms]."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(count, len(atoms), generator=generator).topk(ACTIVE, dim=1).indices
    strengths = 0.5 + torch.rand(count, ACTIVE, generator=generator, dtype=torch.float64)
    codes = torch.zeros(count, len(atoms), dtype=torch.float64).scatter(1, chosen, strengths)
    return codes @ atoms + NOISE * draw(count, atoms.shape[1]), codes


def _accuracy(features: Tensor, label: Tensor) -> float:
    """Of a probe fitted to the first two thirds, on the rest."""
    fitted = 2 * len(features) // 3
    probe = PROBE.fit(features[:fitted], label[:fitted])
    return float((probe.predict(features[fitted:]) == label[fitted:]).double().mean())
