"""Sequences that are stored in layers (Csordas et al. 2024, arXiv:2408.10920): a code that is magnitude and not direction.

Small GRUs learn to repeat. Linear probes read the tokens of the sequence from their state well above their control. Yet no linear
subspace holds the token of one position: to swap subspaces between two sequences is of no use. To add the difference of two
embeddings, at the scale that belongs to the position, makes the network repeat another token there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.configuration import BadSettingError, Count
from ...probe.estimators.linear_discriminant import LinearDiscriminant
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.files import as_file_name
from ...probe.hooks.names import STATE_PLACE, hook_name
from ...probe.mixers import GRU
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.scores import ProbeScores
from ...probe.tasks.base import Split, generator_for
from ...probe.tasks.recall import Repeat
from ..behaviour.results.sequence_edits import SequenceEdits, StoredLayers
from ..behaviour.results.training_curve import TrainingCurve
from ..behaviour.sequence_edits import (
    OnionEdit,
    StoredSequences,
    SubspaceSwap,
    fit_edit,
    sequence_edits,
    stored_layers,
)

STATE = hook_name(0, STATE_PLACE)


@dataclass(frozen=True)
class OnionStudy(Study, kind="onion"):
    """GRUs that repeat sequences, and edits of what they store."""

    task: Repeat = field(default_factory=Repeat)
    """The networks learn to repeat these sequences."""
    training: Training = field(
        default_factory=lambda: Training(steps=1000, batch=128, length=12, learning_rate=1e-2, checkpoint_every=100)
    )
    """Each network is trained with these settings; half of a training sequence is stored, and then repeated."""
    networks: Count = 3
    """So many networks are trained, each from a seed of its own."""
    size: Count = 48
    """The state has this many channels."""
    fit_steps: Count = 400
    """Edits are fitted in this many steps."""
    sequences: Count = 256
    """Edits are tested on this many held-out sequences."""

    question: ClassVar[str] = "Does a GRU keep a sequence along directions, one for each position, or in layers of magnitude?"
    time: ClassVar[str] = "2 min"

    def models(self) -> dict[str, ModelConfig]:
        mixer = GRU(heads=1, value_size=self.size)
        config = {"vocabulary": self.task.vocabulary, "width": self.size, "layers": 1, "mixer": mixer, "expansion": 0}
        return {f"network {number}": ModelConfig(**config, seed=self.seed + number) for number in range(self.networks)}  # type: ignore[arg-type]

    def check(self) -> None:
        if self.training.length % 2 or self.training.length < 4:
            raise BadSettingError(f"training.length is {self.training.length}; it is even, half to store and half to repeat")
        if self.size < self.training.length // 2:
            raise BadSettingError(f"size {self.size} leaves no subspace for each of {self.training.length // 2} positions")
        super().check()

    def execute(self, run: Run) -> None:
        models, histories = {}, {}
        for number, (name, config) in enumerate(self.models().items()):
            models[name], histories[name] = run.train(as_file_name(name), config, self.task, self.training, self.seed + number)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute("probes", self._probe, models=models)
        run.compute(("sequence_edits", "stored_layers"), self._edit, models=models, run=run)

    def _stored(self, model: Model, seed: int = 0) -> StoredSequences:
        return StoredSequences(model, self.task, self.training.length // 2, self.seed + seed)

    def _probe(self, models: dict[str, Model]) -> ProbeScores:
        """How well linear probes read the token of each position from the state that the sequence leaves."""
        sweep = ProbeSweep(estimator=LinearDiscriminant(), control_context=2, permutations=99, seed=self.seed)
        found = []
        for name, model in models.items():
            stored = self._stored(model)
            seen, held_out = (self._captured(stored, split) for split in ("validation", "test"))
            found.append(sweep.fit(seen).score(held_out, name))
        return ProbeScores.join(found)

    def _captured(self, stored: StoredSequences, split: Split) -> Capture:
        said = stored.drawn(4 * self.sequences, split, 5)
        labels = {f"token {place}": said[:, place : place + 1].expand(-1, stored.length) for place in range(stored.length)}
        return capture(stored.model, said, [STATE], positions="last", labels=labels)

    def _edit(self, models: dict[str, Model], run: Run) -> dict[str, Result]:
        edits, layers = [], []
        for number, (name, model) in enumerate(models.items()):
            stored = self._stored(model, number)
            generator = generator_for(self.seed, 804, number)
            onion = OnionEdit(self.task.symbols, stored.length, self.size, generator)
            swap = SubspaceSwap(stored.length, self.size, generator)
            for said, edit in (("magnitude edit", onion), ("subspace swap", swap)):
                with run.stage(f"{said}: {name}", self.fit_steps):
                    fit_edit(stored, edit, steps=self.fit_steps, report=run.reporter.advance)
            about = {"seed": self.seed}  # each network counts its own from there
            edits.append(replace(sequence_edits(stored, onion, swap, sequences=self.sequences, name=name), about=about))
            measured = stored_layers(stored, onion, name=name)
            layers.append(replace(measured, about={**measured.about, **about}))
        return {"sequence_edits": SequenceEdits.joined(edits), "stored_layers": StoredLayers.joined(layers)}
