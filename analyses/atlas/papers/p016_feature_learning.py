"""P016: feature learning in infinite-width neural networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from ....probe.mixers import DeltaNet
from ....probe.models.config import ModelConfig, Parametrisation
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ....probe.tasks.recall import AssociativeRecall
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.nonlinearities import Erf
from ...kernel_regression.gradient_descent import largest_stable_step
from ...lazy.centred_training import train_centred
from ...lazy.learning_rate_transfer import learning_rate_transfer
from ...lazy.results.learning_rate_transfer import LearningRateTransfer
from ...ntk.empirical_ntk import empirical_ntk
from ...studies.findings import Axes, Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, equals

TASK = AssociativeRecall(pairs=4, symbols=8)
FEATURES, SAMPLES, STEPS = 6, 10, 5

TANGENT = "exponent of the width in the change of features, NTK parametrisation under descent"
MAXIMAL = "the same, maximal update parametrisation under Adam"
STANDARD = "the same, standard parametrisation under Adam"
MOVED = Axes("change of features in the first steps", "width", "mean absolute change", x_log=True, y_log=True)


@dataclass(frozen=True)
class FeatureLearning(Claim, kind="p016-coordinates"):
    """Dense networks take five steps of descent, DeltaNets three of Adam."""

    seeds: tuple[int, ...] = fresh_seeds(6)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    widths: tuple[int, ...] = (64, 256, 1024)
    """Dense networks have these numbers of units a layer."""
    model_widths: tuple[int, ...] = (32, 64, 128, 256)
    """DeltaNets have these numbers of channels."""

    paper, scope = "P016", Scope.TRAINED
    statement = (
        "In the NTK parametrisation features move by the inverse root of the width, in the maximal update parametrisation as far "
        "at every width, and in the standard one at one learning rate the further the wider the model is."
    )
    measurements = (
        equals(TANGENT, -0.5, 0.15, "exponent"),
        equals(MAXIMAL, 0.0, 0.15, "exponent"),
        at_least(STANDARD, 0.4, "exponent"),
    )
    panels = (MOVED,)
    note = "The limits that learn features are not computed; transfer of the learning rate is the study mup-transfer."

    def small(self) -> Self:
        return replace(self, widths=(64, 512), model_widths=(32, 128))

    def experiment(self, seed: int, run: Run) -> Findings:
        changes = [change_of_features(width, seed) for width in self.widths]
        found = Findings({TANGENT: exponent(self.widths, changes)})
        found.curves[MOVED.title, "NTK, descent"] = (self.widths, changes)
        steps = self._steps(seed)
        for what, name in ((MAXIMAL, "mup"), (STANDARD, "standard")):
            found.numbers[what] = steps.growth(name)
            means = steps.table[steps.table["parametrisation"] == name].groupby("width")["moved"].mean()
            found.curves[MOVED.title, f"{name}, Adam"] = (self.model_widths, means.tolist())
        return found

    def _steps(self, seed: int) -> LearningRateTransfer:
        def make(name: str, width: int, seed: int) -> Model:
            scaling: Parametrisation = "mup" if name == "mup" else "standard"
            mixer = DeltaNet(heads=2)
            return Model(ModelConfig(TASK.vocabulary, width, 2, mixer, seed=seed, parametrisation=scaling, base_width=32))

        return learning_rate_transfer(
            make,
            TASK,
            parametrisations=("mup", "standard"),
            widths=self.model_widths,
            rates=(2**-10,),
            seeds=(seed,),
            steps=4,
            batch=8,
            length=24,
        )


def change_of_features(width: int, seed: int) -> float:
    """The mean absolute change of the last hidden layer of a network in the NTK parametrisation, in a few steps of descent."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    y = (x[:, :1] * x[:, 1:2]).sign()
    model = DenseNetwork(depth=2, nonlinearity=Erf(), weight_variance=1.5).finite((FEATURES,), width, generator)
    before = _hidden(model, x)
    step = 0.5 * largest_stable_step(empirical_ntk(model, x))
    train_centred(model, x, y, x[:1], scale=1.0, step=step, times=[STEPS])
    return float((_hidden(model, x) - before).abs().mean())


def _hidden(model: nn.Module, x: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = list(model.modules())[-1].register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return kept[0]
