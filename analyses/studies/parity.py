"""Parity and the sign of eigenvalues (Grazzi et al. 2025, arXiv:2411.12537).

A linear RNN whose transitions have only eigenvalues in [0, 1] cannot compute parity at every length in finite precision; with
[-1, 1] one layer can. Both are trained at one length and tested at longer ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch

from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.configuration import Count, Lengths
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.mixers import DeltaNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.scores import ProbeScores
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.parity import Parity
from ..automata.allowed_and_realised import allowed_and_realised
from ..automata.model_automaton import automaton_behind
from ..automata.requirements import tracking_requirements
from ..automata.results.allowed_and_realised import AllowedAndRealised
from ..automata.results.recovered_automaton import RecoveredAutomaton
from ..automata.results.requirements import TrackingRequirements
from ..behaviour.accuracy_by_length import accuracy_by_length
from ..behaviour.results.training_curve import TrainingCurve
from ..geometry.results.state_geometry import StateGeometry
from ..geometry.results.state_projection import StateProjection
from ..geometry.results.state_trajectory import StateTrajectory
from ..geometry.state_geometry import state_geometry
from ..geometry.state_projection import state_projection
from ..geometry.state_trajectory import state_trajectory
from ..spectra.by_label import spectrum_by_label
from ..spectra.memory_horizon import memory_horizon
from ..spectra.results.by_label import SpectrumByLabel
from ..spectra.results.memory_horizon import MemoryHorizon
from ..spectra.results.transition_spectrum import TransitionSpectrum
from ..spectra.transition_spectrum import transition_spectrum

POSITIVE, NEGATIVE = "[0, 1]", "[-1, 1]"
NAMES = {"positive": POSITIVE, "negative": NEGATIVE}


@dataclass(frozen=True)
class ParityStudy(Study, kind="parity"):
    """One-layer DeltaNet with eigenvalues in [0, 1] and in [-1, 1]."""

    training: Training = field(default_factory=lambda: Training(steps=300, batch=64, length=40, learning_rate=1e-2))
    width: Count = 64
    """The residual stream has this many channels."""
    heads: Count = 4
    """The mixer has this many heads."""
    test_lengths: Lengths = (40, 64, 96, 128, 160, 192, 224, 256)
    """Accuracy is measured on sequences of these lengths, in tokens."""
    sequences: Count = 128
    """Each length is tested on this many sequences."""
    probe_length: Count = 64
    """The sequences that are probed have this many tokens."""
    probe_sequences: Count = 384
    """Probes are fitted on this many sequences, and tested on as many others."""

    question: ClassVar[str] = "Can a linear RNN track parity? Only with a transition whose eigenvalue can be negative."
    time: ClassVar[str] = "1 min"

    def models(self) -> dict[str, ModelConfig]:
        config = partial(ModelConfig, Parity().vocabulary, self.width, layers=1, seed=self.seed)
        mixer = partial(DeltaNet, heads=self.heads, short_convolution=0)
        ranges = {"positive": (0.0, 1.0), "negative": (-1.0, 1.0)}
        return {label: config(mixer=mixer(eigenvalue_range=eigenvalues)) for label, eigenvalues in ranges.items()}

    def execute(self, run: Run) -> None:
        task = Parity()
        models, histories = {}, {}
        for label, config in self.models().items():
            models[NAMES[label]], histories[NAMES[label]] = run.train(label, config, task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute(
            "accuracy_by_length",
            accuracy_by_length,
            models=models,
            task=task,
            lengths=self.test_lengths,
            sequences=self.sequences,
            seed=self.seed,
        )
        run.compute("transition_spectrum", self._spectrum, models=models)
        run.compute("spectrum_by_label", self._spectrum_by_label, models=models)
        run.compute("tracking_requirements", self._requirements, models=models)
        run.compute("allowed_and_realised", self._allowed, models=models)
        run.compute("memory_horizon", self._horizon, models=models)
        run.compute("state_geometry", self._geometry, models=models)
        run.compute("recovered_automaton", self._automaton, model=models[NEGATIVE])
        run.compute("state_trajectory", self._trajectory, models=models)
        run.compute("state_projection", self._projection, models=models)
        run.compute("probes", self._probes, models=models)

    def _example(self) -> Batch:
        return Parity().batch(8, self.training.length, "test", generator_for(self.seed, 1))

    def _spectrum(self, models: dict[str, Model]) -> TransitionSpectrum:
        return transition_spectrum(models, self._example().tokens)

    def _spectrum_by_label(self, models: dict[str, Model]) -> SpectrumByLabel:
        tokens = self._example().tokens
        return spectrum_by_label(models, tokens, {"bit": tokens})

    def _requirements(self, models: dict[str, Model]) -> TrackingRequirements:
        return tracking_requirements(models, self._example().tokens)

    def _allowed(self, models: dict[str, Model]) -> AllowedAndRealised:
        return allowed_and_realised(models, self._example().tokens)

    def _projection(self, models: dict[str, Model]) -> StateProjection:
        example = Parity().batch(32, self.training.length, "test", generator_for(self.seed, 4))
        return state_projection(models, example.tokens, example.targets, label="parity", seed=self.seed)

    def _horizon(self, models: dict[str, Model]) -> MemoryHorizon:
        return memory_horizon(models, self._example().tokens)

    def _geometry(self, models: dict[str, Model]) -> StateGeometry:
        return state_geometry(models, self._example().tokens)

    def _trajectory(self, models: dict[str, Model]) -> StateTrajectory:
        example = self._example()
        tokens, parity = example.tokens[0], example.targets[0]
        return state_trajectory(models, tokens, texts=[str(bit) for bit in tokens.tolist()], labels=parity, label="parity")

    def _probes(self, models: dict[str, Model]) -> ProbeScores:
        sweep = ProbeSweep(by_position=True, control_context=6, seed=self.seed)
        fitted = {name: sweep.fit(self._states(model, "validation")) for name, model in models.items()}
        return ProbeScores.join([fitted[name].score(self._states(model, "test"), name) for name, model in models.items()])

    def _automaton(self, model: Model) -> RecoveredAutomaton:
        """The automaton behind the states of all heads together, beside that of parity."""
        batch = Parity().batch(64, self.training.length, "test", generator_for(self.seed, 3))
        return automaton_behind(model, batch.tokens, 0, task=Parity(), seed=self.seed)

    def _states(self, model: Model, split: Split) -> Capture:
        """States and residual stream at eight positions of sequences that no other part of the study sees."""
        batch = Parity().batch(self.probe_sequences, self.probe_length, split, generator_for(self.seed, 2))
        positions = torch.linspace(0, self.probe_length - 1, 8).long().tolist()
        return capture(model, [batch], ["blocks.0.attn.hook_state", "blocks.0.hook_resid_post"], positions=positions)


@dataclass(frozen=True)
class SmallParityStudy(ParityStudy, kind="parity-small"):
    """The parity study with a third of the steps, tested at fewer lengths."""

    training: Training = field(default_factory=lambda: Training(steps=120, batch=32, length=24))
    test_lengths: Lengths = (24, 64, 128)
    sequences: Count = 64

    question: ClassVar[str] = "The parity study at a third of its length: a first run to look at."
    time: ClassVar[str] = "20 s"
