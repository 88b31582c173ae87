"""Any analysis of a model at each step of its training of which a run has kept a checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ...probe.models.model import Model
from ...probe.plugins import Kinds
from ...probe.results.over_steps import OverSteps, over_steps
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.tasks.base import Batch, generator_for
from ..geometry.state_geometry import state_geometry
from ..spectra.memory_horizon import memory_horizon
from ..spectra.transition_measures import transition_measures
from ..spectra.transition_spectrum import transition_spectrum
from .sharpness import sharpness

DRAW = 5  # of the batch, apart from those that studies draw


@dataclass(frozen=True)
class CheckpointAnalysis(Kinds, family="checkpoint_analysis"):
    """What is measured of a model on a batch of its task. One of one's own:

    class Norms(CheckpointAnalysis, kind="norms"):
        title = "norms of states"

        def measure(self, model, batch):
            return norms_of(model, batch.tokens)
    """

    title: ClassVar[str] = ""

    @abstractmethod
    def measure(self, model: Model, batch: Batch) -> Result:
        """Measure a model in eval mode. Raises ValueError for one that has nothing of what is measured."""


class OfSharpness(CheckpointAnalysis, kind="sharpness"):
    """The largest eigenvalues of the Hessian of the loss."""

    title = "sharpness of the loss"

    def measure(self, model: Model, batch: Batch) -> Result:
        return sharpness(model, batch)


class OfSpectrum(CheckpointAnalysis, kind="transition_spectrum"):
    """The eigenvalues of the transition at every token."""

    title = "eigenvalues of transitions"

    def measure(self, model: Model, batch: Batch) -> Result:
        return transition_spectrum({"model": model}, batch.tokens)


class OfTransitions(CheckpointAnalysis, kind="transition_measures"):
    """How far transitions stretch, shrink, flip and turn."""

    title = "what transitions do"

    def measure(self, model: Model, batch: Batch) -> Result:
        return transition_measures({"model": model}, batch.tokens)


class OfHorizons(CheckpointAnalysis, kind="memory_horizon"):
    """How long directions of the state last."""

    title = "memory horizons"

    def measure(self, model: Model, batch: Batch) -> Result:
        return memory_horizon({"model": model}, batch.tokens)


class OfStates(CheckpointAnalysis, kind="state_geometry"):
    """What the states hold, and what is written and erased."""

    title = "rank and size of states"

    def measure(self, model: Model, batch: Batch) -> Result:
        return state_geometry({"model": model}, batch.tokens)


def over_checkpoints(
    run: Run, label: str, analysis: CheckpointAnalysis, *, sequences: int = 8, length: int | None = None, seed: int = 0
) -> OverSteps:
    """An analysis of the model `label` at each step of which the run has a checkpoint, always on one and the same batch.

    sequences, length: of the batch, which is drawn from the task's "test" part by the seed; the length is that of training where
    none is given.

    Raises UnknownNameError for a model that the run does not have, ValueError as the analysis does.
    """
    results: dict[int, Result] = {}
    for step in run.steps(label):
        found = run.model(label, step)
        batch = found.task.batch(sequences, length or found.length, "test", generator_for(seed, DRAW))
        results[step] = analysis.measure(found.model, batch)
    return over_steps(results)
