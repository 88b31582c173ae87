"""P152: numbers written as tokens, and matrices transposed and added by models that have seen examples alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.mixers import Attention, DeltaNet, MixerConfig
from ....probe.models.config import ModelConfig
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.base import IGNORED, generator_for
from ....probe.tasks.matrices import MatrixAlgebra
from ....probe.tasks.number_encodings import ENCODINGS, PRECISION
from ...studies.findings import Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

NUMBERS, TESTED = 1000, 256

ROUND_TRIP = "{}: largest relative error of a number that is written and read"
RIGHT = "share of test matrices whose transpose is within 5%"
SUM, OTHER_SUM = (
    f"share of pairs of test matrices whose sum is within 5%{which}" for which in ("", ", of another second matrix")
)


@dataclass(frozen=True)
class TransposesMatrices(Claim, kind="p152-transpose"):
    """A DeltaNet of two layers reads 2 x 2 matrices of whole numbers, digit by digit."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = Training(steps=300, batch=32, learning_rate=8e-3)
    """The model is trained with these settings, on sequences of the length that the task has."""
    task: MatrixAlgebra = MatrixAlgebra()
    """This is the task that the model learns."""

    paper, scope = "P152", Scope.TRAINED
    statement = (
        "Numbers written by three digits and a power of ten are read back within their precision, and a tiny model learns from "
        "examples to transpose matrices of them, within 5% for 95% of matrices that it has not seen."
    )
    measurements = (
        *(in_every_seed(at_most(ROUND_TRIP.format(name), PRECISION * (1 + 1e-9))) for name in ENCODINGS),
        at_least(RIGHT, 0.95, "accuracy"),
    )
    note = (
        "Each token is predicted after the true ones before it. Eigenvalues, and what one distribution of matrices teaches of "
        "another, which the paper finds with larger models, are not measured."
    )

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=200))

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        values = draw(NUMBERS) * 10 ** (3 * draw(NUMBERS)).clamp(-4, 4)
        values = values[values.abs() > 1e-5]
        for name, encoding in ENCODINGS.items():
            errors = (encoding.decode(encoding.encode(values)) - values) / values
            found.numbers[ROUND_TRIP.format(name)] = float(errors.abs().max())
        model = _trained(run, seed, self.task, self.training, (DeltaNet(), DeltaNet()))
        found.numbers[RIGHT] = _share_right(model, self.task, seed)
        return found


HYBRID: tuple[MixerConfig, ...] = (DeltaNet(), Attention())


@dataclass(frozen=True)
class AddsMatrices(Claim, kind="p152-addition"):
    """A layer of DeltaNet below one of attention reads two 2 x 2 matrices of whole numbers, and writes their sum by digits."""

    seeds: tuple[int, ...] = fresh_seeds(3)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    training: Training = Training(steps=1000, batch=32, learning_rate=8e-3)
    """The model is trained with these settings, on sequences of the length that the task has."""
    task: MatrixAlgebra = MatrixAlgebra("addition")
    """This is the task that the model learns."""

    paper, scope = "P152", Scope.TRAINED
    statement = (
        "A tiny model learns from examples to add two matrices, within 5% for 95% of matrices that it has not seen; of another "
        "second matrix it does not write the sum."
    )
    measurements = (at_least(SUM, 0.95, "accuracy"), at_most(OTHER_SUM, 0.05, "accuracy"))
    note = (
        "Each token is predicted after the true ones before it. Products with a vector, of entries from -3 to 3, are not learned "
        "in 1250 steps: a quarter of them is right."
    )

    def small(self) -> Self:
        return replace(self, training=replace(self.training, steps=150), task=replace(self.task, largest=2))

    def experiment(self, seed: int, run: Run) -> Findings:
        model = _trained(run, seed, self.task, self.training, HYBRID)
        right, other = _share_right(model, self.task, seed), _share_right(model, self.task, seed, exchanged=True)
        return Findings({SUM: right, OTHER_SUM: other})


def _trained(run: Run, seed: int, task: MatrixAlgebra, training: Training, mixers: tuple[MixerConfig, ...]) -> Model:
    config = ModelConfig(task.vocabulary, 64, len(mixers), mixers, seed=seed)
    model, _ = run.train(f"seed{seed}", config, task, replace(training, length=task.tokens), seed)
    return model


def _share_right(model: Model, task: MatrixAlgebra, seed: int, *, exchanged: bool = False) -> float:
    """Of sequences of the test split. exchanged: what stands behind the first matrix is that of another sequence."""
    batch = task.batch(TESTED, task.tokens, "test", generator_for(seed, -1))
    tokens, width = batch.tokens.clone(), len(task.numbers.sizes)
    if exchanged:
        first, asked = task.size**2 * width, int((batch.targets[0] == IGNORED).sum())
        tokens[:, first:asked] = tokens[:, first:asked].roll(1, 0)
    with torch.no_grad():
        predicted = model(tokens).argmax(-1)
    return float(task.right_within(predicted, batch).double().mean())
