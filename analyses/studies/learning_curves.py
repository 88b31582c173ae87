"""Learning curves from a spectrum: how many samples a wide network needs for a function, predicted and measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...probe.configuration import BadSettingError, Count
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ..infinite_width.dense import DenseNetwork
from ..kernel_regression.gradient_descent import largest_stable_step
from ..kernel_regression.learning_curve import learning_curve_point
from ..kernel_regression.learning_curves import Cube, learning_curves, measured_row
from ..kernel_regression.random_features import random_features_point
from ..kernel_regression.results.learning_curves import LearningCurves
from ..kernel_regression.ridge import kernel_ridge
from ..lazy.centred_training import train_centred
from ..ntk.empirical_ntk import empirical_ntk

NETWORK = DenseNetwork(depth=3, bias_variance=0.1)


@dataclass(frozen=True)
class LearningCurvesStudy(Study, kind="learning-curves"):
    """Products of 1, 2 and 3 coordinates of the cube are learnt by regression with the tangent kernel of an infinitely wide ReLU
    network, by random features of it, and by networks of finite width.
    """

    dimension: Count = 8
    """The inputs are the corners of a cube of this dimension."""
    orders: tuple[Count, ...] = (1, 2, 3)
    """The targets are products of these numbers of coordinates."""
    samples: tuple[Count, ...] = (8, 16, 32, 64, 128)
    """Regression has these numbers of samples."""
    features: tuple[Count, ...] = (16, 64, 256, 1024)
    """Random features are of these numbers, for a quarter of the cube's corners as samples."""
    width: Count = 256
    """The finite networks have this many units a layer."""
    draws: Count = 60
    """Each number of samples is drawn this often."""
    networks: Count = 4
    """This many networks are trained for each target and number of samples that they are shown."""
    steps: Count = 300
    """Each network takes this many steps of gradient descent."""

    question: ClassVar[str] = "How many samples does a wide network need for a function? Its kernel's spectrum tells."
    time: ClassVar[str] = "1 min"

    def check(self) -> None:
        most = 2**self.dimension
        if max(self.samples) >= most or max(self.orders) > self.dimension:
            raise BadSettingError(
                f"the cube has {most} corners and {self.dimension} coordinates; ask for fewer samples or lower orders"
            )

    def execute(self, run: Run) -> None:
        run.compute("learning_curves", self._measure)

    def _measure(self) -> LearningCurves:
        cube = Cube.of(self.dimension, lambda points: NETWORK.kernels(self._scaled(points), self._scaled(points)).ntk)
        generator = torch.Generator().manual_seed(self.seed)
        rows = [*self._kernel(cube, generator), *self._random_features(cube, generator), *self._finite(cube, generator)]
        return learning_curves(rows)

    def _scaled(self, points: Tensor) -> Tensor:
        """Inputs whose first pre-activations have a variance near 1, as weights of variance 2 / d ask for."""
        return points * 2**-0.5

    def _kernel(self, cube: Cube, generator: torch.Generator) -> Iterator[tuple[object, ...]]:
        for order in self.orders:
            mode = cube.parity(order)
            target = cube.modes[:, mode : mode + 1]
            coefficients = torch.eye(len(cube.modes))[mode]
            for count in self.samples:
                errors = []
                for _ in range(self.draws):
                    drawn = torch.randperm(len(target), generator=generator)[:count]
                    fit = kernel_ridge(cube.kernel[drawn][:, drawn], target[drawn], cube.kernel[:, drawn]).mean
                    errors.append(float((fit - target).square().mean()))
                predicted = learning_curve_point(cube.eigenvalues, coefficients, count).test_error
                yield measured_row("kernel regression", _name(order), "samples", count, predicted, errors)

    def _random_features(self, cube: Cube, generator: torch.Generator) -> Iterator[tuple[object, ...]]:
        """Gaussian combinations of the eigenfunctions, which are features of this kernel; ridge a thousandth of its trace."""
        count, ridge = len(cube.points) // 4, 1e-3 * float(cube.kernel[0, 0])
        for order in self.orders:
            mode = cube.parity(order)
            target, coefficients = cube.modes[:, mode : mode + 1], torch.eye(len(cube.modes))[mode]
            for features in self.features:
                errors = []
                for _ in range(max(2, self.draws // 4)):
                    weights = torch.randn(len(cube.modes), features, generator=generator, dtype=torch.float64)
                    mapped = cube.modes @ (cube.eigenvalues.sqrt()[:, None] * weights) / features**0.5
                    drawn = torch.randperm(len(target), generator=generator)[:count]
                    fit = kernel_ridge(mapped[drawn] @ mapped[drawn].T, target[drawn], mapped @ mapped[drawn].T, ridge).mean
                    errors.append(float((fit - target).square().mean()))
                predicted = random_features_point(cube.eigenvalues, coefficients, count, features, ridge).test_error
                yield measured_row("random features", _name(order), "features", features, predicted, errors)

    def _finite(self, cube: Cube, generator: torch.Generator) -> Iterator[tuple[object, ...]]:
        """Networks of finite width, trained to the end; all but the largest number of samples, and the first two targets."""
        points = self._scaled(cube.points)
        for order in self.orders[:2]:
            mode = cube.parity(order)
            target, coefficients = cube.modes[:, mode : mode + 1], torch.eye(len(cube.modes))[mode]
            for count in self.samples[:-1]:
                errors = []
                for _ in range(self.networks):
                    model = NETWORK.finite((self.dimension,), self.width, generator)
                    drawn = torch.randperm(len(target), generator=generator)[:count]
                    step = 0.9 * largest_stable_step(empirical_ntk(model, points[drawn])) / 2
                    own = train_centred(model, points[drawn], target[drawn], points, scale=1.0, step=step, times=[self.steps])
                    errors.append(float((own.test[-1] - target).square().mean()))
                predicted = learning_curve_point(cube.eigenvalues, coefficients, count).test_error
                yield measured_row("network", _name(order), "samples", count, predicted, errors)


def _name(order: int) -> str:
    return f"product of {order}"
