"""P336: transcoders."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import normalize

from ....probe.dictionaries.dictionary import Dictionary
from ....probe.dictionaries.trainers import TopK
from ....probe.runs.run import Run
from ...studies.findings import Findings
from ..agreement import difference, seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

SIZE, UNITS, ACTIVE, SAMPLES = 16, 24, 3, 8000

FOUND = "mean over the layer's units of the largest cosine of what they write with a decoder row"
READS = "the same of what they read with an encoder column"
ERROR = "error of the transcoder, over the variance of the layer's output"
MORE = "the same, less that of an autoencoder of the output with as many active features"
SUMS = "contributions to a later feature, summed, against its pre-activation"


@dataclass(frozen=True)
class Transcoders(Claim, kind="p336-transcoders"):
    """A planted layer of sparse units, y = sum_i relu(w_i x - b) d_i, is imitated, and what it writes is read by a dictionary."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    steps: int = 2500
    """Dictionaries are trained for this many steps."""

    paper, scope = "P336", Scope.TRAINED
    statement = (
        "A transcoder finds what the units of a sparse layer read and write, as faithfully as an autoencoder of the layer's "
        "output that uses as many features; what its features add to a later feature is a product of weights, exact for every "
        "input."
    )
    measurements = (
        at_least(FOUND, 0.9, "cosine"),
        at_least(READS, 0.8, "cosine"),
        at_most(ERROR, 0.15, "share of variance"),
        at_most(MORE, 0.05, "share of variance"),
        in_every_seed(at_most(SUMS, 1e-12)),
    )
    note = "The layer is planted; circuits in a language model are not traced."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        reads, writes = normalize(draw(UNITS, SIZE), dim=1), normalize(draw(UNITS, SIZE), dim=1)
        x = draw(SAMPLES, SIZE)
        y = (x @ reads.mT - 1.2).relu() @ writes
        trainer = TopK(features=2 * UNITS, k=ACTIVE, steps=self.steps, seed=seed)
        transcoder = _double(trainer.fit(x.float(), y.float(), hook="layer.in", target="layer.out"))
        autoencoder = _double(trainer.fit(y.float()))
        found = Findings({FOUND: _nearest(writes, transcoder.decoder), READS: _nearest(reads, transcoder.encoder.mT)})
        found.numbers |= {ERROR: _error(transcoder(x), y)}
        found.numbers[MORE] = found.numbers[ERROR] - _error(autoencoder(y), y)
        later = Dictionary(draw(SIZE, UNITS), draw(UNITS), draw(UNITS, SIZE), draw(SIZE))
        features, connections = transcoder.encode(x[:200]), transcoder.connections(later)
        summed = features @ connections + later.pre_activations(transcoder.decoder_bias)
        found.numbers[SUMS] = difference(summed, later.pre_activations(transcoder(x[:200])))
        return found


def _double(one: Dictionary) -> Dictionary:
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias")
    return replace(one, **{name: getattr(one, name).double() for name in names})


def _nearest(planted: Tensor, rows: Tensor) -> float:
    return float((planted @ normalize(rows, dim=1).mT).amax(1).mean())


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().sum() / (truth - truth.mean(0)).square().sum())
