"""P152: numbers written as tokens, and matrices transposed by a model that has seen examples alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ....probe.tasks.base import generator_for
from ....probe.tasks.matrices import MatrixAlgebra
from ....probe.tasks.number_encodings import ENCODINGS, PRECISION
from ...studies.findings import Findings
from ..agreement import seeded
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most, in_every_seed

NUMBERS, TESTED = 1000, 256

ROUND_TRIP = "{}: largest relative error of a number that is written and read"
RIGHT = "share of test matrices whose transpose is within 5%"


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
        "Each token is predicted after the true ones before it. Sums, products with vectors and eigenvalues, and what one "
        "distribution of matrices teaches of another, which the paper finds with larger models, are not measured."
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
        task = self.task
        config = ModelConfig(task.vocabulary, 64, 2, DeltaNet(), seed=seed)
        model, _ = run.train(f"seed{seed}", config, task, replace(self.training, length=task.tokens), seed)
        batch = task.batch(TESTED, task.tokens, "test", generator_for(seed, -1))
        with torch.no_grad():
            predicted = model(batch.tokens).argmax(-1)
        found.numbers[RIGHT] = float(task.right_within(predicted, batch).double().mean())
        return found
