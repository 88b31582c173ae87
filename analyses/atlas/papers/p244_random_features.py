"""P244: multi-layer random features and the approximation power of neural networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...infinite_width.nonlinearities import ReLU
from ...infinite_width.sphere import kernel_of_angle, sphere_eigenvalues, sphere_multiplicities
from ...kernel_regression.ridge import kernel_ridge
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

DIMENSION, DEGREES, POINTS, CENTRES, DRAWS = 4, 3, 1500, 6, 12
WIDTHS = (64, 256, 1024)
FAMILY = DenseNetwork(2, ReLU())

SPECTRUM = "largest difference of a degree's eigenvalues on drawn points from the formula"
SLOPE = "exponent of the width in the error of a function of the kernel's space"
BOUND = "error over the norm in that space times the root of the kernel over the width"
DEGREE = "error of a target of degree 4 over that of degree 1, at one number of random features"
FALLS = Axes("error of random features", "width", "root mean square", x_log=True, y_log=True)


class MultiLayerFeatures(Claim, kind="p244-random-features"):
    """ReLU networks with two frozen random layers, on the sphere of four dimensions."""

    paper, scope = "P244", Scope.IDENTITY
    statement = (
        "Functions of the space of a deep network's kernel are approximated by its frozen random layers with an error of the "
        "root of the width; which functions these are is said by the kernel's eigenvalues, one a degree."
    )
    measurements = (
        at_most(SPECTRUM, 0.05),
        equals(SLOPE, -0.5, 0.15, "exponent"),
        at_most(BOUND, 3.0, "ratio"),
        at_least(DEGREE, 3.0, "ratio"),
    )
    panels = (FALLS,)
    note = "Bounds by Barron norms are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
        found = Findings({SPECTRUM: self._spectrum(on_sphere(draw(POINTS, DIMENSION)))})
        centres, points = on_sphere(draw(CENTRES, DIMENSION)), on_sphere(draw(300, DIMENSION))
        weights = draw(CENTRES, 1)
        target = infinite_width_kernels(FAMILY, points, centres).nngp @ weights
        norm = float((weights * (infinite_width_kernels(FAMILY, centres).nngp @ weights)).sum()) ** 0.5
        errors = []
        for width in WIDTHS:
            squares = []
            for _ in range(DRAWS):
                features = random_features(width, generator)
                # read-out weights that the proof takes: the average over units of what each says at the centres
                read = features(points) @ (features(centres).T @ weights)
                squares.append(float((read - target).square().mean()))
            errors.append(float(np.mean(squares)) ** 0.5)
        largest = float(infinite_width_kernels(FAMILY, points[:1]).nngp)
        found.numbers[SLOPE] = exponent(WIDTHS, errors)
        found.numbers[BOUND] = errors[-1] / (norm * (largest / WIDTHS[-1]) ** 0.5)
        found.numbers[DEGREE] = self._by_degree(points, on_sphere(draw(300, DIMENSION)), generator)
        found.curves[FALLS.title, "random layers"] = (WIDTHS, errors)
        return found

    def _spectrum(self, points: Tensor) -> float:
        """Eigenvalues of the kernel matrix over the points, degree by degree: the mean over each one's multiplicity."""
        values = torch.linalg.eigvalsh(infinite_width_kernels(FAMILY, points).nngp).flip(0) / len(points)
        counts = sphere_multiplicities(DIMENSION, DEGREES).tolist()
        measured = torch.stack([part.mean() for part in values[: sum(counts)].split(counts)])
        return float((measured / sphere_eigenvalues(kernel_of_angle(FAMILY, DIMENSION), DIMENSION, DEGREES) - 1).abs().max())

    def _by_degree(self, points: Tensor, held: Tensor, generator: torch.Generator) -> float:
        """Ridge on the features of one width, for a target of degree 4 and one of degree 1, each over its own size."""
        features = random_features(128, generator)
        train, test = features(points), features(held)
        errors = []
        for degree in (1, 4):
            y, expected = (x[:, :degree].prod(1, keepdim=True) for x in (points, held))  # harmonic: each coordinate once
            predicted = kernel_ridge(train @ train.T, y, test @ train.T, 1e-6).mean
            errors.append(float((predicted - expected).norm() / expected.norm()))
        return errors[1] / errors[0]


def on_sphere(drawn: Tensor) -> Tensor:
    placed: Tensor = drawn / drawn.norm(dim=1, keepdim=True)
    return placed


def random_features(width: int, generator: torch.Generator) -> nn.Module:
    """The frozen layers of a drawn network, with a scale that makes inner products of features approximate its kernel."""
    return _Frozen(FAMILY.finite((DIMENSION,), width, generator), (FAMILY.weight_variance / width) ** 0.5)


class _Frozen(nn.Module):
    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.network.maps[:-1]:  # type: ignore[index]
            x = self.network.nonlinearity(layer(x))  # type: ignore[operator]
        return self.scale * x
