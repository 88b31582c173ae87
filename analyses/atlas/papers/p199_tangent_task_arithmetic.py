"""P199: task arithmetic in the tangent space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ....probe.runs.run import Run
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.nonlinearities import Erf
from ...lazy.tangent_model import TangentModel
from ...lazy.task_vectors import Predict, Vector, combined, disentanglement_error, task_vector
from ...ntk.empirical_ntk import empirical_ntk
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, in_every_seed

FEATURES, SAMPLES, WIDTH, GRID = 8, 40, 64, (-1.0, -0.5, 0.5, 1.0)

TANGENT = "the tangent against finite differences along a direction"
APART = "disentanglement error of tangent task vectors over that of the network's own"
MERGED = "error of both tasks added, in the tangent over the network"
LOCAL = "energy of a task's eigenfunctions of the tangent kernel on its own inputs"
ERRORS = Axes("disentanglement error along equal scales", "scale of both task vectors", "mean square", y_log=True)


@dataclass(frozen=True)
class TangentArithmetic(Claim, kind="p199-tangent-tasks"):
    """Two regressions on inputs far from each other, each learnt from one start by the network and by its tangent."""

    seeds: tuple[int, ...] = tuple(range(9, 21))
    """These seeds are others than 0 to 8, on which the settings were tried out and the spread was seen."""
    steps: int = 300
    """Each task is trained for this many steps of descent."""
    distance: float = 5.0
    """The inputs of the tasks lie this far from the origin, on two sides at right angles."""

    paper, scope = "P199", Scope.TRAINED
    statement = (
        "Tasks that are learnt in the tangent space of a network disturb each other less when their vectors are added than tasks "
        "that the network itself learns, since the tangent kernel's eigenfunctions are local to each."
    )
    measurements = (
        in_every_seed(at_most(TANGENT, 1e-3)),
        at_most(APART, 1.0, "ratio"),
        at_most(MERGED, 1.0, "ratio"),
        at_least(LOCAL, 0.7, "share"),
    )
    panels = (ERRORS,)
    note = "Regressions of small networks, not fine-tuned image models; negation is a part of the grid of scales."

    def small(self) -> Self:
        return replace(self, steps=200)

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
        model = DenseNetwork(2, Erf(), 1.5, 0.1).finite((FEATURES,), WIDTH, generator)
        tasks = [(self._inputs(draw, axis), 2 * draw(SAMPLES, 1).sign()) for axis in (0, 1)]
        found = Findings({TANGENT: self._against_differences(model, tasks[0][0], draw)})
        start = {name: value.detach().clone() for name, value in model.named_parameters()}
        of_tangent, of_network = [], list[Vector]()
        for x, y in tasks:
            tangent = TangentModel(model)
            descend(tangent, x, y, self.steps)
            of_tangent.append(tangent.task_vector())
            descend(model, x, y, self.steps)
            of_network.append(task_vector(dict(model.named_parameters()), start))
            model.load_state_dict(start)
        curves = {}
        for name, vectors, predicts in (
            ("tangent", of_tangent, [tangent_predictions(model, x) for x, _ in tasks]),
            ("network", of_network, [predictions(model, x) for x, _ in tasks]),
        ):
            errors = [disentanglement_error(predicts, vectors, (a, b)) for a in GRID for b in GRID]
            merged = combined(vectors, (1.0, 1.0))
            with torch.no_grad():
                miss = [float((predict(merged) - y).square().mean()) for predict, (_, y) in zip(predicts, tasks, strict=True)]
            curves[name] = float(np.mean(errors)), float(np.mean(miss))
            along = [disentanglement_error(predicts, vectors, (a, a)) for a in np.linspace(0.1, 1, 10)]
            found.curves[ERRORS.title, name] = (np.linspace(0.1, 1, 10).tolist(), along)
        found.numbers[APART] = curves["tangent"][0] / curves["network"][0]
        found.numbers[MERGED] = curves["tangent"][1] / curves["network"][1]
        found.numbers[LOCAL] = locality(empirical_ntk(model, torch.cat([x for x, _ in tasks])), SAMPLES)
        return found

    def _inputs(self, draw: Draw, axis: int) -> Tensor:
        x: Tensor = draw(SAMPLES, FEATURES)
        x[:, axis] += self.distance
        return x

    def _against_differences(self, model: nn.Module, x: Tensor, draw: Draw) -> float:
        tangent, small = TangentModel(model), 1e-5
        along = {name: draw(*value.shape) for name, value in model.named_parameters()}
        with torch.no_grad():
            base = model(x)
            predict = tangent_predictions(model, x)
            slopes = predict(along) - base
            moved = {name: value + small * along[name] for name, value in tangent.start.items()}
            return difference(slopes, (functional_call(model, moved, (x,)) - base) / small)


def descend(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Full-batch descent on the mean squared error, at half the largest step that is stable at the start."""
    kernel = empirical_ntk(model._model[0] if isinstance(model, TangentModel) else model, x)
    rate = 0.5 * len(x) / float(torch.linalg.eigvalsh(kernel)[-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y).square().mean() / 2).backward()
        optimizer.step()


def predictions(model: nn.Module, x: Tensor) -> Predict:
    """What the network says at x with a task vector added to its parameters."""
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    return lambda vector: functional_call(model, {name: value + vector[name] for name, value in start.items()}, (x,))


def tangent_predictions(model: nn.Module, x: Tensor) -> Predict:
    """What its tangent says."""
    tangent = TangentModel(model)
    return lambda vector: tangent.predict(vector, x)


def locality(kernel: Tensor, first: int, count: int = 10) -> float:
    """The energy of the leading eigenfunctions of each task's kernel on its own inputs, over that on both tasks' inputs."""
    shares = []
    for own, other in ((slice(first), slice(first, None)), (slice(first, None), slice(first))):
        values, vectors = torch.linalg.eigh(kernel[own, own])
        extended = (
            kernel[other, own] @ vectors[:, -count:] / values[-count:]
        )  # Nystrom's extension; on its own inputs its norm is 1
        shares.append(float((1 / (1 + extended.square().sum(0))).mean()))
    return float(np.mean(shares))
