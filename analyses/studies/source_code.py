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
from ...probe.hooks.names import hook_name
from ...probe.mixers import Attention, GatedDeltaNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.scores import ProbeScores
from ...probe.subspaces.direction import Direction
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.python_labels import LABELS
from ...probe.tasks.source_code import SourceCode
from ...probe.tasks.spelling import BYTE_TEXTS, Bytes
from ..behaviour.results.training_curve import HeldOutCost, TrainingCurve
from ..behaviour.steering import log_odds, steering
from ..behaviour.survival import survival
from ..behaviour.training_curve import held_out_cost
from ..geometry.direction_map import direction_cosines, direction_projection
from ..geometry.results.state_trajectory import StateTrajectory
from ..geometry.state_trajectory import state_trajectory
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.results.spectrum import TangentSpectrum
from ..ntk.spectrum import tangent_spectrum
from ..spectra.results.transition_spectrum import TransitionSpectrum
from ..spectra.transition_spectrum import transition_spectrum

GATED_DELTA_NET, SOFTMAX_ATTENTION = "Gated DeltaNet", "softmax attention"
CONCEPT = "in_string"


@dataclass(frozen=True)
class SourceCodeStudy(Study, kind="source-code"):
    """Gated DeltaNet with eigenvalues in [-1, 1] against softmax attention on the bytes of Python source."""

    task: SourceCode = field(default_factory=SourceCode)
    training: Training = field(
        default_factory=lambda: Training(steps=700, batch=8, length=256, learning_rate=4e-3, warm_up=40, checkpoint_every=50)
    )
    width: Count = 128
    """The residual stream of both models has this many channels."""
    layers: Count = 2
    """Both models have this many layers."""
    heads: Count = 4
    """Each layer of both models has this many heads."""
    key_size: Count = 16
    """A state of the linear model has this many key channels for each head."""
    value_size: Count = 32
    """A state of the linear model has this many value channels for each head."""
    probe_windows: Annotated[int, Range(least=16)] = 128
    """Probes are fitted on this many held-out windows, and tested on as many others."""
    probe_positions: Count = 24
    """This many bytes of each window are taken as samples of the probes."""
    strengths: Annotated[tuple[float, ...], NotEmpty()] = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    """Steering moves activations by these strengths, in gaps between the means of the two classes."""
    tangent_samples: Count = 48
    """The tangent kernel is computed between this many windows."""
    tangent_length: Count = 48
    """Each window of the tangent kernel has this many bytes."""

    question: ClassVar[str] = "What does a model of Python source keep in its state?"
    time: ClassVar[str] = "6 min"

    def execute(self, run: Run) -> None:
        with run.stage("reading the corpus"):
            _ = self.task.corpus
        models, histories = {}, {}
        for name, config in self.models().items():
            models[name], histories[name] = run.train(short(name), config, self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute("held_out_cost", self._cost, models=models)
        linear = {GATED_DELTA_NET: models[GATED_DELTA_NET]}
        run.compute("transition_spectrum", self._spectrum, models=linear)
        run.compute("state_trajectory", self._trajectory, models=linear)
        captures = {name: self._stored(run, name, model) for name, model in models.items()}
        run.compute(("probes", "survival"), self._probe, models=models, captures=captures, run=run)
        run.compute(("direction_cosines", "direction_projection", "steering"), self._steer, models=models, run=run)
        run.compute("tangent_kernel", self._tangent, models=models, run=run)

    def models(self) -> dict[str, ModelConfig]:
        linear = GatedDeltaNet(heads=self.heads, key_size=self.key_size, value_size=self.value_size)
        mixers = {GATED_DELTA_NET: linear, SOFTMAX_ATTENTION: Attention(heads=self.heads)}
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

    def _cost(self, models: dict[str, Model]) -> HeldOutCost:
        return held_out_cost(models, self._batch(64, "test", 1), seed=self.seed)

    def _spectrum(self, models: dict[str, Model]) -> TransitionSpectrum:
        return transition_spectrum(models, self._batch(4, "test", 2).tokens)

    def _trajectory(self, models: dict[str, Model]) -> StateTrajectory:
        tokens, labels = self._example()
        return state_trajectory(
            models, tokens, texts=Bytes().show(tokens.tolist()), labels=labels["bracket_depth"], label="bracket depth"
        )

    def _hooks(self, model: Model) -> list[str]:
        states = [hook for hook in model.hook_dict if hook.endswith("hook_state")]
        return [hook_name(layer, "hook_resid_post") for layer in range(self.layers)] + states

    def _stored(self, run: Run, name: str, model: Model) -> Capture:
        """The held-out capture of a model, kept in the run."""
        with run.stage(f"capture: {name}"):
            return run.capture(short(name), model, self._windows("test", 4), self._hooks(model), self._positions())

    def _probe(self, models: dict[str, Model], captures: dict[str, Capture], run: Run) -> dict[str, Result]:
        """Probes of every label in residual stream and state, and how the labels survive with distance."""
        fitted: dict[str, FittedProbes] = {}
        for name, model in models.items():
            with run.stage(f"probes: {name}"):
                seen = self._capture(model, self._hooks(model), "validation", 3)
                # A byte alone says too little to be a type of its own: the control task labels each three bytes.
                fitted[name] = ProbeSweep(control_context=3, seed=self.seed).fit(seen, labels=LABELS)
        last = self.layers - 1
        hooks = [*(hook_name(layer, "attn.hook_state") for layer in range(self.layers)), hook_name(last, "hook_resid_post")]
        return {
            "probes": ProbeScores.join([fitted[name].score(captures[name], name) for name in models]),
            "survival": survival(fitted, captures, hooks, LABELS, depths=["bracket_depth"], seed=self.seed),
        }

    def _windows(self, split: Split, stream: int) -> list[Batch]:
        return [self._batch(16, split, stream * 1000 + index, labels=True) for index in range(self.probe_windows // 16)]

    def _positions(self) -> list[int]:
        """From an eighth of the window on: before that there is little to remember."""
        last = self.training.length - 1
        found: list[int] = torch.linspace(self.training.length // 8, last, self.probe_positions).long().tolist()
        return found

    def _capture(self, model: Model, hooks: list[str], split: Split, stream: int) -> Capture:
        return capture(model, self._windows(split, stream), hooks, positions=self._positions())

    def _steer(self, models: dict[str, Model], run: Run) -> dict[str, Result]:
        """How the concepts' directions lie, how a sequence projects on them, and whether moving along one moves the output."""
        hook = hook_name(self.layers // 2 - 1, "hook_resid_post")
        directions = {name: self._directions(model, hook) for name, model in models.items()}
        for name, found in directions.items():
            run.keep_direction(f"{short(name)}_{CONCEPT}", found[CONCEPT])
        chosen = list(directions[GATED_DELTA_NET].values())
        tokens, labels = self._example()
        seen = self._batch(64, "validation", 6, labels=True)
        concept = log_odds(seen.targets.flatten(), seen.labels[CONCEPT].flatten() > 0, self.task.vocabulary)
        pairs = {name: (models[name], directions[name][CONCEPT]) for name in models}
        batch = self._batch(16, "test", 7, labels=True)
        texts = Bytes().show(tokens.tolist())
        return {
            "direction_cosines": direction_cosines(chosen),
            "direction_projection": direction_projection(models[GATED_DELTA_NET], chosen, tokens, texts, labels),
            "steering": steering(pairs, batch, concept, strengths=self.strengths, seed=self.seed, text_of=BYTE_TEXTS),
        }

    def _directions(self, model: Model, hook: str) -> dict[str, Direction]:
        """Differences of means of each label, present against absent, in one residual stream."""
        seen = self._capture(model, [hook], "validation", 5)
        features = seen.features(hook)
        return {
            label: Direction.difference_of_means(features, seen.label(label) > 0, hook=hook, name=label, split="validation")
            for label in LABELS
        }

    def _tangent(self, models: dict[str, Model], run: Run) -> TangentSpectrum:
        batch = self.task.batch(self.tangent_samples, self.tangent_length, "validation", generator_for(self.seed, 8))
        kernels = {}
        for name, config in self.models().items():
            for when, model in (("initialisation", Model(config).eval()), ("trained", models[name])):
                with run.stage(f"tangent kernel: {name}, {when}", self.task.vocabulary):
                    kernels[name, when] = empirical_ntk(
                        model, batch.tokens, advance=lambda done, _: run.reporter.advance(done, "outputs")
                    )
        return tangent_spectrum(kernels, batch.targets[:, -1])


def short(name: str) -> str:
    """A model's name as part of a file name."""
    return name.lower().replace(" ", "_")
