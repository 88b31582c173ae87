"""What a model of Python source keeps in its state.

A byte-level language model is trained on the standard library's own source, once with Gated DeltaNet and once with softmax
attention of the same size. The tokenizer's labels say what is true at each byte. Probes with as many inputs everywhere ask where
the models hold it, and how long it survives. Directions of "inside a string" and of open brackets are then moved along and taken
out, in the residual stream at every byte and in the state after a single one, to see whether the models write by them. Validation
data choose the activation, the way of finding and the estimator; what is reported is measured on files that chose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...probe.captures.capture import Capture
from ...probe.captures.collect import capture
from ...probe.configuration import Count, NotEmpty, Range
from ...probe.estimators.estimator import Estimator, LinearProbe, Probe
from ...probe.estimators.fitted_probes import FittedProbes
from ...probe.estimators.linear_discriminant import LinearDiscriminant
from ...probe.estimators.logistic import Logistic
from ...probe.estimators.on_principal_components import OnPrincipalComponents
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.estimators.sample_curve import sample_curve
from ...probe.files import as_file_name
from ...probe.hooks.names import STATE_PLACE, hook_name
from ...probe.mixers import Attention, GatedDeltaNet
from ...probe.models.config import ModelConfig
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training
from ...probe.statistics.scores import ProbeScores
from ...probe.subspaces.causal_inner_product import CausalInnerProduct
from ...probe.subspaces.direction import Direction
from ...probe.subspaces.finders import MeanDifference
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.python_labels import LABELS
from ...probe.tasks.source_code import SourceCode
from ...probe.tasks.spelling import Bytes
from ..behaviour.probe_comparison import ProbedPlace, probe_comparison
from ..behaviour.results.training_curve import HeldOutCost, TrainingCurve
from ..behaviour.survival import survival
from ..behaviour.training_curve import held_out_cost
from ..geometry.direction_map import direction_cosines, direction_projection
from ..geometry.results.direction_map import DirectionCosines, DirectionProjection
from ..geometry.results.state_trajectory import StateTrajectory
from ..geometry.state_trajectory import state_trajectory
from ..ntk.empirical_ntk import empirical_ntk
from ..ntk.results.spectrum import TangentSpectrum
from ..ntk.spectrum import tangent_spectrum
from ..spectra.results.transition_spectrum import TransitionSpectrum
from ..spectra.transition_spectrum import transition_spectrum
from .source_code_steering import ConceptSteering, SteeringPlace

GATED_DELTA_NET, SOFTMAX_ATTENTION = "Gated DeltaNet", "softmax attention"
BRACKETS = "in_brackets"
PROBED = (*LABELS, BRACKETS)
CONCEPTS = ("in_string", "in_comment", BRACKETS, "in_parameters", "indentation")
READ = ("probes", "probe_comparison", "sample_curve", "survival", "direction_projection", "direction_cosines")


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
    probe_windows: Annotated[int, Range(least=16)] = 192
    """Probes are fitted on this many held-out windows, and tested on as many others."""
    probe_positions: Count = 20
    """This many bytes of each window are taken as samples of the probes."""
    estimators: Annotated[tuple[Estimator, ...], NotEmpty()] = (LinearDiscriminant(balanced=True), Logistic(balanced=True))
    """Validation data choose among these probes."""
    components: Count = 128
    """Probes read so many principal components, so that a state has no more inputs than the residual stream."""
    concepts: Annotated[tuple[str, ...], NotEmpty()] = ("in_string", BRACKETS)
    """These labels are steered and erased."""
    strengths: Annotated[tuple[float, ...], NotEmpty()] = (2.0, 4.0)
    """Steering moves activations by these strengths, in gaps between the means of the two classes."""
    randoms: Count = 100
    """So many random directions stand beside each check."""
    steered_windows: Annotated[int, Range(least=2)] = 32
    """This many windows choose a direction, and as many others test it."""
    steered_length: Annotated[int, Range(least=8)] = 80
    """Each of those windows has this many bytes."""
    tangent_samples: Count = 24
    """The tangent kernel is computed between this many windows."""
    tangent_length: Count = 48
    """Each window of the tangent kernel has this many bytes."""

    question: ClassVar[str] = "What does a model of Python source keep in its state, and does it write by it?"
    time: ClassVar[str] = "6 min"

    def execute(self, run: Run) -> None:
        with run.stage("reading the corpus"):
            _ = self.task.corpus
        models, histories = {}, {}
        for name, config in self.models().items():
            models[name], histories[name] = run.train(as_file_name(name), config, self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories=histories)
        run.compute("held_out_cost", self._cost, models=models)
        linear = {GATED_DELTA_NET: models[GATED_DELTA_NET]}
        run.compute("transition_spectrum", self._spectrum, models=linear)
        run.compute("state_trajectory", self._trajectory, models=linear)
        captures = {name: self._stored(run, name, model) for name, model in models.items()}
        run.compute(READ, self._read, models=models, captures=captures, run=run)
        run.compute(("direction_choice", "causal_check"), self._steer, models=models, run=run)
        run.compute("tangent_kernel", self._tangent, models=models, run=run)

    def models(self) -> dict[str, ModelConfig]:
        linear = GatedDeltaNet(heads=self.heads, key_size=self.key_size, value_size=self.value_size)
        mixers = {GATED_DELTA_NET: linear, SOFTMAX_ATTENTION: Attention(heads=self.heads)}
        config = partial(ModelConfig, self.task.vocabulary, self.width, self.layers, seed=self.seed)
        return {name: config(mixer=mixer) for name, mixer in mixers.items()}

    def _batch(self, size: int, split: Split, stream: int, *, labels: bool = False, length: int | None = None) -> Batch:
        generator = generator_for(self.seed, 1000 + stream)
        batch = self.task.batch(size, length or self.training.length, split, generator, labels=labels)
        brackets = {BRACKETS: (batch.labels["bracket_depth"] > 0).long()} if labels else {}
        return replace(batch, labels=batch.labels | brackets)

    def _example(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The held-out window, of many, in which most labels occur with and without what they name."""
        batch = self._batch(192, "test", 2, labels=True)
        varied = torch.stack([(batch.labels[label] > 0).double().std(1) for label in CONCEPTS])
        best = int((varied > 0.1).sum(0).double().add(varied.sum(0)).argmax())
        return batch.tokens[best], {label: batch.labels[label][best] for label in PROBED}

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
        return [*self._streams(), *_states(model)]

    def _streams(self) -> tuple[str, ...]:
        """The residual stream between and behind the two halves of each block."""
        return tuple(hook_name(layer, f"hook_resid_{place}") for layer in range(self.layers) for place in ("mid", "post"))

    def _stored(self, run: Run, name: str, model: Model) -> Capture:
        """The held-out capture of a model, kept in the run."""
        with run.stage(f"capture: {name}"):
            return run.capture(as_file_name(name), model, self._windows("test", 4), self._hooks(model), self._positions())

    def _read(self, models: dict[str, Model], captures: dict[str, Capture], run: Run) -> dict[str, Result]:
        """Probes of every label, where they read it best, with how many samples, and how it survives with distance."""
        seen = {name: self._capture(model, self._hooks(model), 3) for name, model in models.items()}
        with run.stage("choosing the probes"):
            estimator = self._best_estimator(seen)
        sweep = ProbeSweep(estimator=estimator, control_context=3, seed=self.seed)
        fitted = {}
        for name, own in seen.items():
            with run.stage(f"probes: {name}"):
                # A byte alone says too little to be a type of its own: the control task labels each three bytes.
                fitted[name] = sweep.fit(own, labels=PROBED)
        streams, states = self._streams(), _states(models[GATED_DELTA_NET])
        state = ProbedPlace(f"state of {GATED_DELTA_NET}", GATED_DELTA_NET, states)
        stream, other = (ProbedPlace(f"stream of {name}", name, streams) for name in (GATED_DELTA_NET, SOFTMAX_ATTENTION))
        pairs = [(state, stream), (state, other)]
        best = max(states, key=lambda hook: sum(_validation(fitted[GATED_DELTA_NET], hook, label) for label in PROBED))
        with run.stage("probes by samples"):
            plain = replace(sweep, permutations=0, code_length=False, resamples=200)
            given = (seen[GATED_DELTA_NET], captures[GATED_DELTA_NET])
            curve = sample_curve(plain, *given, hooks=[best], labels=PROBED, shares=(0.1, 0.3, 1.0))
        return {
            "probes": ProbeScores.join([fitted[name].score(captures[name], name) for name in models]),
            "probe_comparison": probe_comparison(fitted, captures, pairs, PROBED, seed=self.seed),
            "sample_curve": curve,
            "survival": survival(fitted, captures, [best, streams[-1]], LABELS, depths=["bracket_depth"], seed=self.seed),
            "direction_projection": self._projection(models[GATED_DELTA_NET], seen[GATED_DELTA_NET], best, estimator),
            "direction_cosines": self._cosines(models[GATED_DELTA_NET], seen[GATED_DELTA_NET], streams[-1]),
        }

    def _best_estimator(self, seen: Mapping[str, Capture]) -> Estimator:
        """The probes that read all labels best in the validation inside the training samples, over all activations."""
        tried = [OnPrincipalComponents(estimator, self.components) for estimator in self.estimators]
        if len(tried) == 1:
            return tried[0]
        plain = [ProbeSweep(estimator=one, code_length=False, seed=self.seed) for one in tried]
        scores = [[_mean_validation(sweep.fit(own, labels=PROBED)) for own in seen.values()] for sweep in plain]
        return tried[max(range(len(tried)), key=lambda index: sum(scores[index]))]

    def _projection(self, model: Model, seen: Capture, hook: str, estimator: Estimator) -> DirectionProjection:
        """A held-out window along the direction by which each label is read: 0 is the mean without it, 1 the mean with it."""
        features, groups = seen.features(hook), seen.sample_groups
        present = _present(seen)
        probes = estimator.fit_many(features, {label: held.long() for label, held in present.items()}, groups)
        directions = [reading_direction(probes[label], features, held, hook, label) for label, held in present.items()]
        tokens, labels = self._example()
        return direction_projection(model, directions, tokens, Bytes().show(tokens.tolist()), labels)

    def _cosines(self, model: Model, seen: Capture, hook: str) -> DirectionCosines:
        """How the labels' differences of means lie to each other, by which metric."""
        features = seen.features(hook).double()
        directions = [MeanDifference().fit(features, held, hook=hook, name=label) for label, held in _present(seen).items()]
        spread = torch.cov(features.T)
        unit = spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
        metrics: dict[str, Tensor | None] = {"Euclidean": None, "whitened": torch.linalg.inv(0.99 * spread + 0.01 * unit)}
        if len(spread) < self.task.vocabulary:
            metrics["causal"] = CausalInnerProduct.of(model.W_U).dual
        return direction_cosines(directions, metrics)

    def _windows(self, split: Split, stream: int) -> list[Batch]:
        return [self._batch(16, split, stream * 1000 + index, labels=True) for index in range(self.probe_windows // 16)]

    def _positions(self) -> list[int]:
        """From an eighth of the window on: before that there is little to remember."""
        last = self.training.length - 1
        found: list[int] = torch.linspace(self.training.length // 8, last, self.probe_positions).long().tolist()
        return found

    def _capture(self, model: Model, hooks: list[str], stream: int) -> Capture:
        """A capture of validation data."""
        return capture(model, self._windows("validation", stream), hooks, positions=self._positions())

    def _steer(self, models: dict[str, Model], run: Run) -> dict[str, Result]:
        """Whether moving along a concept's direction moves what the models write, and taking it out stops them."""
        count, length = self.steered_windows, self.steered_length
        choosing = self._batch(count, "validation", 6, labels=True, length=length)
        testing = self._batch(count, "test", 7, labels=True, length=length)
        written = self._batch(64, "validation", 8, labels=True)
        steering = ConceptSteering(choosing, testing, written, self.task.vocabulary, self.strengths, self.randoms, self.seed)
        places = []
        for name, model in models.items():
            seen, states = self._capture(model, self._hooks(model), 5), _states(model)
            places.append(SteeringPlace(f"{name}, stream", model, self._streams(), seen, of_states=False))
            if states:
                places.append(SteeringPlace(f"{name}, state once", model, states, seen, of_states=True))
        with run.stage("steering"):
            choice, check, chosen = steering.run(places, self.concepts)
        for name, direction in chosen.items():
            run.keep_direction(as_file_name(name), direction)
        return {"direction_choice": choice, "causal_check": check}

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


def reading_direction(probe: Probe, features: Tensor, present: Tensor, hook: str, name: str) -> Direction:
    """The direction along which a linear probe of two classes reads a label, counted from the mean without it, in gaps."""
    if not isinstance(probe, LinearProbe):
        raise TypeError(f"{name} is read by no linear probe, which has no direction")
    found = Direction.along(probe.contrast, features, present, hook=hook, name=name)
    return found.counted_from(features[~present].double().mean(0))


def _present(seen: Capture) -> dict[str, Tensor]:
    """Where each concept is present in the samples, [S], of those that are present in some and absent in others."""
    held = {label: seen.label(label) > 0 for label in CONCEPTS}
    return {label: present for label, present in held.items() if len(present.unique()) == 2}


def _states(model: Model) -> tuple[str, ...]:
    return tuple(hook for hook in model.hook_dict if hook.endswith(STATE_PLACE))


def _validation(probes: FittedProbes, hook: str, label: str) -> float:
    return probes.probe(hook, label).validation if probes.has(hook, label) else 0.0


def _mean_validation(probes: FittedProbes) -> float:
    found = [fitted.probe.validation for fitted in probes.by_task.values() if fitted.probe is not None]
    return sum(found) / len(found)
