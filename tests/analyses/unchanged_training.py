"""Models that a mutation leaves as they are need not be trained again."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mutations import Mutation

from statescope.probe.models.model import Model
from statescope.probe.runs.checkpoint_file import progress_of
from statescope.probe.runs.run import Run
from statescope.probe.runs.training import train

COMPARED = 4  # first steps of a training: what has no weight at the start is seen in the next ones


def unchanged_training(whole: Path) -> Mutation:
    """Models whose training another mutation leaves as it is are not trained again: they are those of a run beside which it acts.

    That it leaves it is told by the losses of its first steps, each of which has to be the same to the last bit.
    """

    def mutate(patch: pytest.MonkeyPatch) -> None:
        right = Run.train

        def train_or_copy(self: Run, label: str, *given: Any) -> Any:
            there, here = Run(whole / self.path.name).checkpoints(label).newest, self.checkpoints(label)
            if there and here.newest is None and first_losses(*given) == progress_of(there).losses[:COMPARED]:
                here.folder.mkdir(parents=True)
                shutil.copy(there, here.folder)
                self.ledger.record([here.folder / there.name])
            return right(self, label, *given)

        patch.setattr(Run, "train", train_or_copy)

    return mutate


class Enough(Exception):
    """The first steps are done."""


def first_losses(config: Any, task: Any, training: Any, seed: int) -> tuple[float, ...]:
    """Of a model as it is trained now."""
    losses = []

    def report(step: int, _: int, loss: float) -> None:
        losses.append(loss)
        if step == COMPARED:
            raise Enough

    with suppress(Enough):
        train(Model(config), task, training, seed=seed, report=report)
    return tuple(losses)
