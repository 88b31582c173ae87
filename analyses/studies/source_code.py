"""What a model of Python source keeps in its state.

A byte-level language model is trained on the standard library's own source, once with Gated DeltaNet and once with softmax
attention of the same size. The tokenizer's labels say what is true at each byte; probes ask where the models hold it, how
long it survives, and whether the direction of "inside a string" moves what the model writes next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar

import torch

from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.configuration import Count, NotEmpty, Range
from ...probe.estimators.fitted_probes import FittedProbes
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.mixers import Attention, GatedDeltaNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.scores import ProbeScores
from ...probe.subspaces.direction import Direction
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.python_labels import LABELS
from ...probe.tasks.source_code import SourceCode
from ..behaviour.steering import Steering, log_odds, steering
from ..behaviour.survival import survival
from ..behaviour.training_curve import TrainingCurve, held_out_cost
from ..geometry.direction_map import DirectionProjection, direction_cosines, direction_projection
from ..geometry.state_trajectory import StateTrajectory, state_trajectory
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.spectrum import TangentSpectrum, tangent_spectrum
from ..spectra.transition_spectrum import transition_spectrum

LINEAR, SOFTMAX = "Gated DeltaNet", "softmax attention"
CONCEPT = "in_string"


@dataclass(frozen=True)
class SourceCodeStudy(Study, kind="source-code"):
    """Gated DeltaNet with eigenvalues in [-1, 1] against softmax attention on the bytes of Python source."""

    task: SourceCode = field(default_factory=SourceCode)
    training: Training = field(
        default_factory=lambda: Training(steps=700, batch=8, length=256, learning_rate=4e-3, warm_up=40, checkpoint_every=50)
    )
    width: Count = 128
    """of the residual stream of both models"""
    layers: Count = 2
    """of both models"""
    heads: Count = 4
    """of both models"""
    key_size: Count = 16
    """of the linear model's states"""
    value_size: Count = 32
    """of the linear model's states"""
    probe_windows: Annotated[int, Range(least=16)] = 128
    """held-out windows that probes are fitted on, and as many that they are tested on"""
    probe_positions: Count = 24
    """bytes of each window that are samples"""
    strengths: Annotated[tuple[float, ...], NotEmpty()] = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    """of steering, in gaps between the means of the two classes"""
    tangent_samples: Count = 48
    """windows of the tangent kernel"""
    tangent_length: Count = 48
    """bytes in each of them"""

    question: ClassVar[str] = "What does a model of Python source keep in its state?"
    time: ClassVar[str] = "6 min"

    def execute(self, run: Run) -> None:
        with run.stage("reading the corpus"):
            files = len(self.task.corpus)
        configs = self.models()
        models, histories = {}, {}
        for name, config in configs.items():
            models[name], histories[name] = run.train(short(name), config, self.task, self.training, self.seed)
        run.compute("training", lambda: TrainingCurve.of(histories))
        run.compute("held_out_cost", lambda: held_out_cost(models, self._batch(64, "test", 1), seed=self.seed))
        self._look_at_states(run, models)
        self._probe(run, models)
        self._steer(run, models, files)
        run.compute("tangent_kernel", lambda: self._tangent(run, configs, models))

    def models(self) -> dict[str, ModelConfig]:
        linear = GatedDeltaNet(heads=self.heads, key_size=self.key_size, value_size=self.value_size)
        mixers = {LINEAR: linear, SOFTMAX: Attention(heads=self.heads)}
        config = partial(ModelConfig, self.task.vocabulary, self.width, self.layers, seed=self.seed)
        return {name: config(mixer=mixer) for name, mixer in mixers.items()}

    def _batch(self, size: int, split: Split, stream: int, *, labels: bool = False) -> Batch:
        return self.task.batch(size, self.training.length, split, generator_for(self.seed, 1000 + stream), labels=labels)

    def _example(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The held-out window, of a few dozen, in which most labels occur with and without what they name."""
        batch = self._batch(48, "test", 2, labels=True)
        varied = torch.stack([(batch.labels[label] > 0).double().std(1) for label in LABELS])
        best = int((varied > 0.1).sum(0).double().add(varied.sum(0)).argmax())
        return batch.tokens[best], {label: batch.labels[label][best] for label in LABELS}

    def _look_at_states(self, run: Run, models: dict[str, Model]) -> None:
        linear = {LINEAR: models[LINEAR]}
        run.compute("transition_spectrum", lambda: transition_spectrum(linear, self._batch(4, "test", 2).tokens))

        def trajectory() -> StateTrajectory:
            tokens, labels = self._example()
            depth = labels["bracket_depth"]
            return state_trajectory(linear, tokens, texts=texts_of(tokens), labels=depth, label="bracket depth")

        run.compute("state_trajectory", trajectory)

    def _probe(self, run: Run, models: dict[str, Model]) -> None:
        """Probes of every label in residual stream and state, and how the labels survive with distance."""
        if {"survival", "probes"} <= set(run.result_names):
            return
        fitted: dict[str, FittedProbes] = {}
        captures: dict[str, Capture] = {}
        for name, model in models.items():
            hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(self.layers)]
            hooks += [hook for hook in model.hook_dict if hook.endswith("hook_state")]
            with run.stage(f"capture: {name}"):
                train = self._capture(model, hooks, "validation", 3)
                captures[name] = self._capture(model, hooks, "test", 4, run=run, store=short(name))
            with run.stage(f"probes: {name}"):
                # A byte alone says too little to be a type of its own: the control task labels each three bytes.
                fitted[name] = ProbeSweep(control_context=3, seed=self.seed).fit(train, labels=LABELS)
        run.compute("probes", lambda: ProbeScores.join([fitted[name].score(captures[name], name) for name in models]))
        last = self.layers - 1
        hooks = [*(f"blocks.{layer}.attn.hook_state" for layer in range(self.layers)), f"blocks.{last}.hook_resid_post"]
        run.compute("survival", lambda: survival(fitted, captures, hooks, LABELS, seed=self.seed))

    def _capture(
        self, model: Model, hooks: list[str], split: Split, stream: int, run: Run | None = None, store: str | None = None
    ) -> Capture:
        batches = [self._batch(16, split, stream * 1000 + index, labels=True) for index in range(self.probe_windows // 16)]
        # From an eighth of the window on: before that there is little to remember.
        positions = torch.linspace(self.training.length // 8, self.training.length - 1, self.probe_positions).long().tolist()
        if run is None or store is None:
            return capture(model, batches, hooks, positions=positions)
        return run.capture(store, model, batches, hooks, positions)

    def _steer(self, run: Run, models: dict[str, Model], files: int) -> None:
        hook = f"blocks.{self.layers // 2 - 1}.hook_resid_post"
        directions = {name: self._directions(model, hook) for name, model in models.items()}
        for name, found in directions.items():
            run.keep_direction(f"{short(name)}_{CONCEPT}", found[CONCEPT])
        run.compute("direction_cosines", lambda: direction_cosines(list(directions[LINEAR].values())))

        def projection() -> DirectionProjection:
            tokens, labels = self._example()
            chosen = list(directions[LINEAR].values())
            return direction_projection(models[LINEAR], chosen, tokens, texts_of(tokens), labels)

        run.compute("direction_projection", projection)

        def effect() -> Steering:
            seen = self._batch(64, "validation", 6, labels=True)
            concept = log_odds(seen.targets.flatten(), seen.labels[CONCEPT].flatten() > 0, self.task.vocabulary)
            pairs = {name: (models[name], directions[name][CONCEPT]) for name in models}
            batch = self._batch(16, "test", 7, labels=True)
            return steering(pairs, batch, concept, strengths=self.strengths, seed=self.seed, text_of=BYTE_TEXTS)

        run.compute("steering", effect)

    def _directions(self, model: Model, hook: str) -> dict[str, Direction]:
        """Differences of means of each label, present against absent, in one residual stream."""
        seen = self._capture(model, [hook], "validation", 5)
        features = seen.features(hook)
        return {
            label: Direction.difference_of_means(features, seen.label(label) > 0, hook=hook, name=label, split="validation")
            for label in LABELS
        }

    def _tangent(self, run: Run, configs: dict[str, ModelConfig], models: dict[str, Model]) -> TangentSpectrum:
        batch = self.task.batch(self.tangent_samples, self.tangent_length, "validation", generator_for(self.seed, 8))
        kernels = {}
        for name, config in configs.items():
            for when, model in (("initialisation", Model(config).eval()), ("trained", models[name])):
                with run.stage(f"tangent kernel: {name}, {when}", self.task.vocabulary):
                    kernels[name, when] = empirical_ntk(
                        model, batch.tokens, advance=lambda done, _: run.reporter.advance(done, "outputs")
                    )
        return tangent_spectrum(kernels, batch.targets[:, -1])


BYTE_TEXTS = ["␣" if byte == 32 else repr(chr(byte))[1:-1] if byte < 128 else f"\\x{byte:02x}" for byte in range(256)]


def texts_of(tokens: torch.Tensor) -> list[str]:
    """Each byte as a character; those outside ASCII and control characters as escapes."""
    return [BYTE_TEXTS[byte] for byte in tokens.tolist()]


def short(name: str) -> str:
    """A model's name as part of a file name."""
    return name.lower().replace(" ", "_")
